"""The gRPC services of xDS: one for all types in order, and one for each type by itself."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET
from xds.delta import DeltaStream
from xds.request import DeltaRequest, Request, SotwRequest
from xds.sotw import SotwStream
from xds.stream import Stream

SMALL: Final = 256
"""Bytes of a request up to which it is read once for all who say the same: the streams of a view answer a push in the
same words."""


@dataclass(frozen=True, slots=True)
class Method:
    """One streaming method: which protocol it speaks, and of what."""

    name: str
    stream: type[Stream[Any]]
    request: type[DeltaRequest] | type[SotwRequest]
    type_url: str | None
    """The only type it serves; None for all."""

    def parse(self, data: bytes) -> Request:
        """Read a request; raises google.protobuf's DecodeError when it is none, or of a type not served here."""
        request = _same(self, data) if len(data) <= SMALL else self.request.parse(data)
        if self.type_url is not None and not request.type_url:
            # It need not be said where there is but one (xDS protocol: `type_url` is implicit in singleton streams).
            return replace(request, type_url=self.type_url)
        if not request.type_url or self.type_url not in (None, request.type_url):
            raise DecodeError(f"type_url {request.type_url!r} is not served by {self.name}")
        return request


@lru_cache(maxsize=256)
def _same(method: Method, data: bytes) -> Request:
    return method.request.parse(data)


_SERVICES: Final = (
    ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None),
    ("cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER),
    ("endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT),
    ("listener.v3.ListenerDiscoveryService", "Listeners", LISTENER),
    ("route.v3.RouteDiscoveryService", "Routes", ROUTE),
    ("secret.v3.SecretDiscoveryService", "Secrets", SECRET),
    ("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", EXTENSION_CONFIG),
)


def services() -> dict[str, tuple[Method, ...]]:
    """Return the methods of each service."""
    return {
        f"envoy.service.{service}": (
            Method(f"Stream{noun}", SotwStream, SotwRequest, type_url),
            Method(f"Delta{noun}", DeltaStream, DeltaRequest, type_url),
        )
        for service, noun, type_url in _SERVICES
    }
