"""The rest of capture by TPROXY: the rules of the table `mangle`, and the routing that they need (Istio: almost so).

An inbound packet keeps source and destination and is handed to the proxy's transparent listener. The proxy dials the
application from the client's address with a mark on its packets (Envoy: listener filter `original_src`); the mark of
this connection brings the application's answers back to the proxy rather than to the client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dragoman.capture.rules import (
    DIVERT,
    INBOUND,
    INBOUND_SOURCES,
    LOOPBACK,
    OUTPUT,
    TPROXY,
    ConnectionMark,
    Family,
    Mark,
    Not,
    Rule,
    ToListener,
)
from dragoman.capture.settings import Capture

MARK: Final = 1337
"""Of packets that stay in this pod, whatever their addresses."""

ROUTES: Final = 133
"""Number of the routing table for packets with `MARK`: all is local."""

_BY_SERVICE: Final = 1338  # of the proxy's packets to its own pod, which are inbound traffic as well


def rules(capture: Capture, family: Family) -> list[Rule]:
    """All rules of the table `mangle`, in order; none for REDIRECT."""
    if capture.mode != "TPROXY":
        return []
    return [
        Rule(DIVERT, Mark(MARK)),
        Rule(DIVERT, "ACCEPT"),
        Rule(TPROXY, ToListener(capture.inbound_port, MARK), destination=Not(LOOPBACK[family])),
        # Without a listener iptables drops the packet by itself, and nft would let it pass by a proxy that is not up.
        Rule(TPROXY, "DROP", destination=Not(LOOPBACK[family])),
        *_inbound(capture, family),
        *_outbound(capture, family),
    ]


def _inbound(capture: Capture, family: Family) -> Iterator[Rule]:
    for interface in (*capture.exclude_interfaces, *capture.reroute_interfaces):
        yield Rule(INBOUND, "RETURN", in_interface=interface)
    # From the proxy to the application and back: the connection is known by its mark from here on.
    yield Rule(INBOUND, ConnectionMark.SAVE, mark=str(MARK))
    yield Rule(INBOUND, "RETURN", mark=str(MARK))
    yield Rule(INBOUND, "RETURN", in_interface="lo", source=INBOUND_SOURCES[family])
    # The application to itself: not captured.
    yield Rule(INBOUND, "RETURN", in_interface="lo", mark=Not(str(_BY_SERVICE)))
    if isinstance(capture.include_inbound_ports, str):
        for port in capture.exclude_inbound_ports:
            yield Rule(INBOUND, "RETURN", port=str(port))
        yield from _to_proxy(None)
    else:
        for included in capture.include_inbound_ports:
            if included not in capture.exclude_inbound_ports:
                yield from _to_proxy(str(included))


def _to_proxy(port: str | None) -> Iterator[Rule]:
    # Answers to connections from here. Not all of known connections, as with Istio: the kernel knows one for longer
    # than the proxy's end of it lasts, and another from the same port would then be the application's.
    yield Rule(INBOUND, DIVERT, port=port, direction="reply")
    yield Rule(INBOUND, TPROXY, port=port)


def _outbound(capture: Capture, family: Family) -> Iterator[Rule]:
    for interface in capture.exclude_interfaces:
        yield Rule(OUTPUT, "RETURN", out_interface=interface)
    yield Rule(OUTPUT, "RETURN", out_interface="lo", mark=str(MARK))
    for kind, number in (("uid", capture.proxy_uid), ("gid", capture.proxy_gid)):
        yield Rule(
            OUTPUT, Mark(_BY_SERVICE), out_interface="lo", destination=Not(LOOPBACK[family]), **{kind: str(number)}
        )
    yield Rule(OUTPUT, ConnectionMark.RESTORE, connection_mark=str(MARK))


def routing(family: Family, listed: str, wanted: bool) -> Iterator[tuple[str, ...]]:
    """The commands of ip(8) by which packets with `MARK` are local, or no longer are; none where it is so already.

    `listed` is what `ip rule list` shows for the family.
    """
    ip = ("ip", f"-{family.value}")
    rule = ("fwmark", str(MARK), "lookup", str(ROUTES))
    present = any(line.split()[-4:] == ["fwmark", hex(MARK), "lookup", str(ROUTES)] for line in listed.splitlines())
    if wanted:
        yield (*ip, "route", "replace", "local", "default", "dev", "lo", "table", str(ROUTES))
        if not present:
            yield (*ip, "rule", "add", *rule)
    elif present:
        yield (*ip, "rule", "delete", *rule)
        yield (*ip, "route", "flush", "table", str(ROUTES))
