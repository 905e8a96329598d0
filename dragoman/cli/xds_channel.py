"""A gRPC channel to an xDS server, from what the command line says about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
import typer

from ca.caller import PodBinding
from dragoman.callers.token_issuer import TokenIssuer, TokenKeyError
from dragoman.cli.addresses import HostPort, host_port_or_socket
from dragoman.cli.output import fail
from dragoman.cli.state import root_file, token_folder
from dragoman.mesh.proxy_id import ProxyId
from dragoman.sidecar.control_plane import SERVER_NAME

_TOKEN_LIFETIME: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Target:
    """A server and how to speak with it: in plaintext, or with TLS if there are `roots` to check it by."""

    address: HostPort | Path
    roots: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token: str | None = None
    server_name: str | None = None

    @classmethod
    def of(
        cls,
        server: str,
        *,
        ca_file: Path | None,
        cert: Path | None,
        key: Path | None,
        token_file: Path | None,
        server_name: str | None,
    ) -> Target:
        """Read the files that options name; what does not fit together is a usage error."""
        address = host_port_or_socket(server)
        if (cert is None) != (key is None):
            raise typer.BadParameter("--cert and --key go together")
        if ca_file is None and (cert is not None or server_name is not None):
            raise typer.BadParameter("--cert and --server-name are for TLS: say --ca-file, too")
        local = isinstance(address, Path) or address.local
        if token_file is not None and ca_file is None and not local:
            raise typer.BadParameter(f"the token would go to {address} in plaintext: say --ca-file for TLS")
        return cls(
            address,
            ca_file.read_bytes() if ca_file else None,
            cert.read_bytes() if cert else None,
            key.read_bytes() if key else None,
            token_file.read_text().strip() if token_file else None,
            server_name,
        )

    @classmethod
    def of_this_machine(cls, server: str, state: Path, proxy: ProxyId, service_account: str) -> Target:
        """A control plane that keeps its state here: its roots, and a token that this proxy would be given.

        Exits with 1 where the state has none: whoever may read it may be any proxy.
        """
        try:
            issuer = TokenIssuer.load_or_create(token_folder(state))
            roots = root_file(state).read_bytes()
        except (OSError, TokenKeyError) as error:
            raise fail(
                f"no control plane keeps its state in {state} ({error}): say --state-dir, or --server with --ca-file "
                "and --token-file, or the --server of a plaintext port"
            ) from None
        token = issuer.issue(
            PodBinding(proxy.namespace, proxy.name),
            service_account,
            now=datetime.now(UTC),
            lifetime=_TOKEN_LIFETIME,
        )
        return cls(host_port_or_socket(server), roots, token=token, server_name=SERVER_NAME)

    def __str__(self) -> str:
        return f"unix://{self.address}" if isinstance(self.address, Path) else str(self.address)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Headers of each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self) -> grpc.aio.Channel:
        """Open a channel; nothing is connected yet."""
        options: list[tuple[str, str | int]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        target = f"unix:{self.address}" if isinstance(self.address, Path) else str(self.address)
        if self.roots is None:
            return grpc.aio.insecure_channel(target, options=options)
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        credentials = grpc.ssl_channel_credentials(self.roots, self.key, self.certificate)
        return grpc.aio.secure_channel(target, credentials, options=options)
