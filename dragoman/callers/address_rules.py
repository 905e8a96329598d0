"""Which addresses the control plane may be sent to by a URL that others wrote.

Who may write a RequestAuthentication makes the control plane fetch a URL of his choice, from a place in the network
that he may not be at himself (server-side request forgery, CWE-918).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        (
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:42::42",
            "fd20:ce::254",
        ),
    )
)
"""Where clouds tell instances their credentials, beside the link-local addresses."""

_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that gateways translate to the IPv4 address at their end (RFC 6052, section 2.1)."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Loopback, link-local, metadata, multicast and reserved addresses are refused, and what is `blocked`; whatever is
    `allowed` is not. Private addresses are not refused by themselves: issuers inside of a cluster have them."""

    allowed: tuple[Network, ...] = ()
    blocked: tuple[Network, ...] = ()

    def objection(self, text: str) -> str | None:
        """Why nothing may be fetched from an address; None if it may."""
        address = _reached(ipaddress.ip_address(text))
        if any(address in network for network in self.allowed):
            return None
        if any(address in network for network in self.blocked):
            return f"{address} is in a blocked range"
        kinds = {
            "a loopback address": address.is_loopback,
            "a link-local address": address.is_link_local,
            "an address of a cloud's metadata": address in _METADATA,
            "an address of no host": address.is_unspecified or address.is_multicast or address in _HERE,
            "a reserved address": address.version == 4 and address.is_reserved,
        }
        return next((f"{address} is {kind}" for kind, holds in kinds.items() if holds), None)


_HERE: Final = ipaddress.IPv4Network("0.0.0.0/8")
"""Some systems take all of it for themselves (RFC 1122, section 3.2.1.3)."""

EVERYWHERE: Final = AddressRules(allowed=(ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0")))
"""For URLs that the operator of the control plane gave himself."""


def _reached(address: Address) -> Address:
    """The address that packets end at: IPv6 has ways to write one of IPv4."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.scope_id is not None:
        address = ipaddress.IPv6Address(int(address))
    return address.ipv4_mapped or address.sixtofour or address
