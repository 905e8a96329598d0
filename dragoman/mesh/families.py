"""Families of IP addresses: which of them a proxy has decides where it listens.

Istio: pilot/pkg/model/context.go (IPMode, DiscoverIPMode), pilot/pkg/networking/core/listener_address.go. There a proxy
with addresses of both listens on IPv6 only if ISTIO_DUAL_STACK is set; here it always does, as capture takes both.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


def is_ipv6(address: str) -> bool:
    """Whether an IP address is one of IPv6."""
    return ":" in address


class Families(enum.StrEnum):
    """The families that a proxy has addresses of. What there is of both begins with IPv4, which names listeners."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    DUAL = "dual stack"

    @classmethod
    def of(cls, addresses: Iterable[str]) -> Families:
        """The families of a pod's addresses, of which there is at least one."""
        found = {is_ipv6(address) for address in addresses}
        return cls.DUAL if len(found) > 1 else cls.IPV6 if True in found else cls.IPV4

    def among(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those of the addresses that a proxy of these families can be reached at or can reach."""
        if self is Families.DUAL:
            return tuple(addresses)
        six = self is Families.IPV6
        return tuple([address for address in addresses if (":" in address) is six])

    @property
    def wildcards(self) -> tuple[str, ...]:
        """What stands for all addresses: in the pod's own network."""
        return self.among(("0.0.0.0", "::"))  # noqa: S104

    @property
    def loopbacks(self) -> tuple[str, ...]:
        return self.among(("127.0.0.1", "::1"))

    @property
    def inbound_sources(self) -> tuple[str, ...]:
        """Where a sidecar calls its application from: capture rules let it through (Istio:
        InboundPassthroughBindIpv4, InboundPassthroughBindIpv6)."""
        return self.among(("127.0.0.6", "::6"))
