"""A proxy's node id, by which it introduces itself and tools name it."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from dragoman.mesh.hosts import DOMAIN


class ProxyType(enum.StrEnum):
    SIDECAR = "sidecar"
    ROUTER = "router"


class ProxyIdError(ValueError):
    """A node id that is not `type~ip~name.namespace~domain`, or of a type that is not served."""


@dataclass(frozen=True, slots=True)
class ProxyId:
    """Istio's node id (Istio: pilot/pkg/model/context.go, ParseServiceNodeWithMetadata)."""

    type: ProxyType
    address: str
    name: str
    namespace: str
    domain: str

    def __str__(self) -> str:
        return f"{self.type}~{self.address}~{self.name}.{self.namespace}~{self.domain}"

    @property
    def short(self) -> str:
        """`pod.namespace`, as tools show a proxy."""
        return f"{self.name}.{self.namespace}"

    @classmethod
    def parse(cls, text: str) -> ProxyId:
        """Parse a node id; raises `ProxyIdError` that says which part is wrong."""
        parts = text.split("~")
        if len(parts) != 4:
            raise ProxyIdError(f"node id {text!r}: expected type~ip~name.namespace~domain, got {len(parts)} parts")
        kind, address, id_, domain = parts
        try:
            type_ = ProxyType(kind)
        except ValueError:
            served = ", ".join(ProxyType)
            raise ProxyIdError(f"node id {text!r}: proxy type {kind!r} is not served ({served} are)") from None
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ProxyIdError(f"node id {text!r}: {address!r} is no IP address") from None
        name, dot, namespace = id_.rpartition(".")
        if not (dot and name and namespace):
            raise ProxyIdError(f"node id {text!r}: {id_!r} is not pod.namespace")
        return cls(type_, address, name, namespace, domain or f"{namespace}.svc.{DOMAIN}")
