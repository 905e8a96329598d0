"""The rules of capture, for one family of addresses and for no program in particular.

They are those of Istio (Istio: tools/istio-iptables/pkg/capture): same chains, same order, same meaning. Only what it
adds to the kernel's own chains stands in ours, so that each of the kernel's has one rule of ours. Here are those of the
table `nat`: all of REDIRECT, and what is outbound of TPROXY; the rest of TPROXY is in `dragoman.capture.transparent`.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dragoman.capture.settings import Capture, Network

INBOUND, IN_REDIRECT = "ISTIO_INBOUND", "ISTIO_IN_REDIRECT"
OUTPUT, REDIRECT = "ISTIO_OUTPUT", "ISTIO_REDIRECT"
DIVERT, TPROXY = "ISTIO_DIVERT", "ISTIO_TPROXY"
HOOKS: Final = {"PREROUTING": INBOUND, "OUTPUT": OUTPUT}
"""The kernel's chains and ours behind them, for TCP."""


@dataclass(frozen=True, slots=True)
class Table:
    """One of the kernel's tables, and our chains in it."""

    name: str
    chains: tuple[str, ...]


NAT: Final = Table("nat", (INBOUND, REDIRECT, IN_REDIRECT, OUTPUT))
MANGLE: Final = Table("mangle", (INBOUND, DIVERT, TPROXY, OUTPUT))

_TUNNEL_PORT: Final = 15008  # HBONE, which a proxy would take as it comes


class Family(enum.Enum):
    """IPv4 or IPv6; the value is its number."""

    V4 = 4
    V6 = 6


INBOUND_SOURCES: Final = {Family.V4: "127.0.0.6/32", Family.V6: "::6/128"}
"""Where the proxy's connections to the application come from (Istio: InboundPassthroughBindIpv4, …Ipv6)."""

LOOPBACK: Final = {Family.V4: "127.0.0.1/32", Family.V6: "::1/128"}


@dataclass(frozen=True, slots=True)
class Not:
    """Anything but this."""

    value: str


Match = str | Not | None


@dataclass(frozen=True, slots=True)
class Mark:
    """What is done: the packet gets this mark."""

    value: int


@dataclass(frozen=True, slots=True)
class ToListener:
    """What is done: the packet goes to the transparent listener of this port as it is, and gets this mark."""

    port: int
    mark: int


class ConnectionMark(enum.Enum):
    """What is done: the connection gets its packet's mark, or the packet that of its connection."""

    SAVE = "save"
    RESTORE = "restore"


Target = str | int | Mark | ToListener | ConnectionMark


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for TCP: where it stands, what must hold, what then. A target is a chain, RETURN, ACCEPT, DROP, a port
    here, or one of the actions above. `direction` is `reply` for what answers the one who dialled."""

    chain: str
    target: Target
    port: Match = None
    in_interface: Match = None
    out_interface: Match = None
    source: Match = None
    destination: Match = None
    uid: Match = None
    gid: Match = None
    mark: Match = None
    connection_mark: Match = None
    direction: Match = None


def rules(capture: Capture, family: Family) -> list[Rule]:
    """All rules of the table `nat`, in order."""
    return [
        Rule(REDIRECT, capture.outbound_port),
        Rule(IN_REDIRECT, capture.inbound_port),
        *_inbound(capture, family),
        *_outbound(capture, family),
    ]


def _inbound(capture: Capture, family: Family) -> Iterator[Rule]:
    for interface in capture.exclude_interfaces:
        yield Rule(INBOUND, "RETURN", in_interface=interface)
    for interface in capture.reroute_interfaces:
        for destination in _included(capture, family):
            yield Rule(INBOUND, REDIRECT, in_interface=interface, destination=destination)
        yield Rule(INBOUND, "RETURN", in_interface=interface)
    if capture.mode == "TPROXY":
        return
    yield Rule(INBOUND, "RETURN", port=str(_TUNNEL_PORT))
    if isinstance(capture.include_inbound_ports, str):
        for port in capture.exclude_inbound_ports:
            yield Rule(INBOUND, "RETURN", port=str(port))
        yield Rule(INBOUND, IN_REDIRECT)
    else:
        for port in capture.include_inbound_ports:
            if port not in capture.exclude_inbound_ports:
                yield Rule(INBOUND, IN_REDIRECT, port=str(port))


def _outbound(capture: Capture, family: Family) -> Iterator[Rule]:
    for interface in capture.exclude_interfaces:
        yield Rule(OUTPUT, "RETURN", out_interface=interface)
    for port in capture.exclude_outbound_ports:
        yield Rule(OUTPUT, "RETURN", port=str(port))
    yield Rule(OUTPUT, "RETURN", out_interface="lo", source=INBOUND_SOURCES[family])
    for kind, number in (("uid", capture.proxy_uid), ("gid", capture.proxy_gid)):
        proxy = str(number)
        # The proxy to its own pod by way of a service: the pod's inbound rules hold here as well.
        yield Rule(
            OUTPUT,
            IN_REDIRECT,
            port=Not(str(_TUNNEL_PORT)),
            out_interface="lo",
            destination=Not(LOOPBACK[family]),
            **{kind: proxy},
        )
        # The application to itself: not captured.
        yield Rule(OUTPUT, "RETURN", out_interface="lo", **{kind: Not(proxy)})
        # The proxy to anywhere else: or it would send to itself for ever.
        yield Rule(OUTPUT, "RETURN", **{kind: proxy})
    yield Rule(OUTPUT, "RETURN", destination=LOOPBACK[family])
    for network in _of(family, capture.exclude_outbound_ranges):
        yield Rule(OUTPUT, "RETURN", destination=network)
    if isinstance(capture.include_outbound_ports, str):
        yield Rule(OUTPUT, REDIRECT)
        return
    for port in capture.include_outbound_ports:
        yield Rule(OUTPUT, REDIRECT, port=str(port))
    for destination in _included(capture, family):
        yield Rule(OUTPUT, REDIRECT, destination=destination)


def _included(capture: Capture, family: Family) -> list[str | None]:
    """The destinations that are captured; one of None is any."""
    if isinstance(capture.include_outbound_ranges, str):
        return [None]
    return [*_of(family, capture.include_outbound_ranges)]


def _of(family: Family, networks: tuple[Network, ...]) -> list[str]:
    version = ipaddress.IPv4Network if family is Family.V4 else ipaddress.IPv6Network
    return [str(network) for network in networks if isinstance(network, version)]
