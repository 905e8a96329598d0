"""Several Gateways on one workload: which servers share a port, and which of two that cannot is refused.

The older one wins, as everywhere (Istio: pilot/pkg/model/gateway.go, mergeGateways). What is refused is kept with its
reason: a server that silently does nothing is the hardest fault to find.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from crds.gateway import Server
from dragoman.mesh.protocol import Protocol, named_protocol


@dataclass(frozen=True, slots=True)
class BoundServer:
    """One server of a Gateway on a gateway workload: `port` is the number in the Gateway, `listen` the workload's."""

    gateway: str
    """`namespace/name`"""
    port: int
    listen: int
    address: str
    """What it binds: an IP address, or `unix:///path`."""
    server: Server

    @property
    def namespace(self) -> str:
        return self.gateway.split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.gateway.split("/", 1)[1]

    @property
    def protocol(self) -> Protocol:
        return named_protocol(self.server.port.protocol)

    @property
    def is_tls(self) -> bool:
        """Whether clients speak TLS to it; a plain HTTP server may have `tls` only to redirect."""
        return self.protocol.is_tls

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names by which clients choose it during the handshake (SNI), without duplicates."""
        return tuple(dict.fromkeys(host.rpartition("/")[2].lower() for host in self.server.hosts))

    def __str__(self) -> str:
        return f"Gateway {self.gateway} server {self.server.port.name!r} (port {self.port})"


class Refusal(NamedTuple):
    """A server that has no effect on a workload, for the sake of an older one."""

    server: BoundServer
    reason: str

    def __str__(self) -> str:
        return f"{self.server} has no effect: {self.reason}"


class Merged(NamedTuple):
    """What a gateway workload serves, and what it does not."""

    servers: tuple[BoundServer, ...]
    refused: tuple[Refusal, ...]


def merged(bound: Iterable[BoundServer]) -> Merged:
    """Merge the servers of one workload, given oldest first."""
    plain: dict[tuple[str, int], BoundServer] = {}
    names: dict[tuple[str, int], dict[str, BoundServer]] = {}
    servers: list[BoundServer] = []
    refused: list[Refusal] = []
    for candidate in bound:
        place = (candidate.address, candidate.listen)
        known = names.get(place, {})
        reason = _beside_names(candidate, known) or _beside_plain(candidate, plain.get(place))
        if reason:
            refused.append(Refusal(candidate, reason))
            continue
        if candidate.is_tls:
            names.setdefault(place, {}).update(dict.fromkeys(candidate.server_names, candidate))
        else:
            plain.setdefault(place, candidate)
        servers.append(candidate)
    return Merged(tuple(servers), tuple(refused))


def _beside_names(candidate: BoundServer, known: dict[str, BoundServer]) -> str:
    """Why a server cannot stand beside TLS servers, which share a port as long as no name belongs to two."""
    if not known:
        return ""
    if not candidate.is_tls:
        return f"the port speaks TLS for {next(iter(known.values()))}"
    taken = next((name for name in candidate.server_names if name in known), None)
    return f"{known[taken]} has the host {taken!r} on the same port" if taken is not None else ""


def _beside_plain(candidate: BoundServer, first: BoundServer | None) -> str:
    """Why a server cannot stand beside one without TLS: only plain HTTP shares a port, and one route configuration."""
    if first is None:
        return ""
    if not (candidate.protocol.is_http and first.protocol.is_http):
        return f"the port speaks {first.protocol} for {first}"
    if (candidate.server.bind or "") != (first.server.bind or ""):
        return f"{first} writes the same address as bind {first.server.bind!r}"
    return ""
