"""What is captured, in the words of Istio's annotations (Istio API: traffic.sidecar.istio.io)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

ALL: Final = "*"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Everything = Literal["*"]
Mode = Literal["REDIRECT", "TPROXY"]

_INTERFACE: Final = re.compile(r"[^\s/,\"\\]{1,15}")


class CaptureError(ValueError):
    """What was asked for cannot be meant so, or this system cannot do it; the text says why."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One pod's capture. Excludes go before includes; `*` includes everything, and nothing is not everything.

    `mode` is how inbound connections come to the proxy: with another destination, or as they are (TPROXY), so that the
    proxy can show the application the client's address. It then needs NET_ADMIN and another user id than `proxy_uid`.
    Ports are those that clients dial. `proxy_uid` and `proxy_gid` are who the proxy is: its own connections are not
    captured. `inbound_port` and `outbound_port` are where it listens. Interfaces in `exclude_interfaces` are left
    alone; what comes in by one of `reroute_interfaces` is the outbound traffic of a guest, as of a virtual machine.
    """

    mode: Mode = "REDIRECT"
    outbound_port: int = 15001
    inbound_port: int = 15006
    proxy_uid: int = 1337
    proxy_gid: int = 1337
    include_outbound_ranges: tuple[Network, ...] | Everything = ALL
    exclude_outbound_ranges: tuple[Network, ...] = ()
    include_inbound_ports: tuple[int, ...] | Everything = ALL
    exclude_inbound_ports: tuple[int, ...] = ()
    include_outbound_ports: tuple[int, ...] | Everything = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    reroute_interfaces: tuple[str, ...] = ()

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> Capture:
        """From the options of `dragoman capture`, without their dashes in front. Raises CaptureError.

        What is not named has its default; options that are not about what is captured are passed over.
        """
        default = cls()
        mode = texts.get("mode", default.mode)
        if mode not in ("REDIRECT", "TPROXY"):
            raise CaptureError(f"mode: {mode!r} is neither REDIRECT nor TPROXY")

        def number(name: str, otherwise: int, limit: int) -> int:
            return _number(name, texts[name], limit) if name in texts else otherwise

        return cls(
            mode="TPROXY" if mode == "TPROXY" else "REDIRECT",
            outbound_port=number("outbound-port", default.outbound_port, 2**16),
            inbound_port=number("inbound-port", default.inbound_port, 2**16),
            proxy_uid=number("proxy-uid", default.proxy_uid, 2**32 - 1),
            proxy_gid=number("proxy-gid", default.proxy_gid, 2**32 - 1),
            include_outbound_ranges=_all_or_ranges("include-outbound-ranges", texts, ALL),
            exclude_outbound_ranges=_ranges("exclude-outbound-ranges", texts),
            include_inbound_ports=_all_or_ports("include-inbound-ports", texts, ALL),
            exclude_inbound_ports=_ports("exclude-inbound-ports", texts),
            include_outbound_ports=_all_or_ports("include-outbound-ports", texts, ""),
            exclude_outbound_ports=_ports("exclude-outbound-ports", texts),
            exclude_interfaces=_interfaces("exclude-interfaces", texts),
            reroute_interfaces=_interfaces("reroute-interfaces", texts),
        )


def _items(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for item in (part.strip() for part in text.split(",")) if item))


def _number(name: str, text: str, limit: int) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < limit):
        raise CaptureError(f"{name}: {text!r} is no number below {limit}")
    return int(text)


def _ports(name: str, texts: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(_number(name, item, 2**16) for item in _items(texts.get(name, "")))


def _ranges(name: str, texts: Mapping[str, str]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(item, strict=False) for item in _items(texts.get(name, "")))
    except ValueError as error:
        raise CaptureError(f"{name}: {error}") from None


def _interfaces(name: str, texts: Mapping[str, str]) -> tuple[str, ...]:
    found = _items(texts.get(name, ""))
    for item in found:
        if not _INTERFACE.fullmatch(item):
            raise CaptureError(f"{name}: {item!r} is no network interface")
    return found


def _all_or_ports(name: str, texts: Mapping[str, str], default: str) -> tuple[int, ...] | Everything:
    text = texts.get(name, default)
    return ALL if text.strip() == ALL else _ports(name, {name: text})


def _all_or_ranges(name: str, texts: Mapping[str, str], default: str) -> tuple[Network, ...] | Everything:
    text = texts.get(name, default)
    return ALL if text.strip() == ALL else _ranges(name, {name: text})
