"""PeerAuthentication: whether a workload accepts, requires or refuses mutual TLS."""

from enum import StrEnum
from typing import ClassVar

from msgspec import field

from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.selector import WorkloadSelector


class MutualTLSMode(StrEnum):
    """UNSET inherits from the enclosing scope; PERMISSIVE when no scope says anything."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class MutualTLS(Message, frozen=True):
    mode: MutualTLSMode | None = None


class PeerAuthenticationSpec(Message, frozen=True):
    """`port_level_mtls` is keyed by the port number of the workload, not of the service."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: dict[int, MutualTLS] = field(default_factory=dict)


class PeerAuthentication(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("security.istio.io", "peerauthentications", ("v1", "v1beta1"), "v1", ("pa",))
    spec: PeerAuthenticationSpec
