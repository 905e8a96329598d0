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
    """What it binds, or the first of it: an IP address, or `unix:///path`."""
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
    older: BoundServer
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
        refusal = _beside_names(candidate, known) or _beside_plain(candidate, plain.get(place))
        if refusal is not None:
            refused.append(refusal)
            continue
        if candidate.is_tls:
            names.setdefault(place, {}).update(dict.fromkeys(candidate.server_names, candidate))
        else:
            plain.setdefault(place, candidate)
        servers.append(candidate)
    return Merged(tuple(servers), tuple(refused))


def _beside_names(candidate: BoundServer, known: dict[str, BoundServer]) -> Refusal | None:
    """Why a server cannot stand beside TLS servers, which share a port as long as no name belongs to two."""
    if not known:
        return None
    if not candidate.is_tls:
        older = next(iter(known.values()))
        return Refusal(candidate, older, f"the port speaks TLS for {older}")
    for name in candidate.server_names:
        if name in known:
            return Refusal(candidate, known[name], f"{known[name]} has the host {name!r} on the same port")
    return None


def _beside_plain(candidate: BoundServer, older: BoundServer | None) -> Refusal | None:
    """Why a server cannot stand beside one without TLS: only plain HTTP shares a port, and one route configuration."""
    if older is None:
        return None
    if not (candidate.protocol.is_http and older.protocol.is_http):
        return Refusal(candidate, older, f"the port speaks {older.protocol} for {older}")
    if (candidate.server.bind or "") != (older.server.bind or ""):
        return Refusal(candidate, older, f"{older} binds the same address, written as {older.server.bind!r}")
    return None
