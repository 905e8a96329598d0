"""Discovery requests as small frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from dragoman.codec import decode

_DELTA_REQUEST: Final = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryRequest"
_SOTW_REQUEST: Final = "type.googleapis.com/envoy.service.discovery.v3.DiscoveryRequest"
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Node:
    """Who the client says it is. Nothing of it is verified: identity comes from the connection."""

    id: str
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, hash=False)
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    user_agent: str = ""
    """Name and version of the client, such as "envoy 1.40.0"."""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest. ACK, NACK and subscription changes may come in one message (xDS protocol)."""

    type_url: str
    node: Node | None = None
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    """Versions the client holds, by name; only in the first request of a type on a stream."""
    nonce: str = ""
    """Nonce of the response this ACKs or NACKs; empty when the request is spontaneous."""
    error: str | None = None
    """Why the response was rejected: present makes it a NACK."""

    @classmethod
    def parse(cls, data: bytes) -> "DeltaRequest":
        """Read a request from the wire; raises google.protobuf's DecodeError when it is not one."""
        message: Any = decode(_DELTA_REQUEST, data)
        return cls(
            type_url=message.type_url,
            node=_node(message.node) if message.HasField("node") else None,
            subscribe=tuple(message.resource_names_subscribe),
            unsubscribe=tuple(message.resource_names_unsubscribe),
            initial_versions=dict(message.initial_resource_versions) or _NOTHING,
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
        )


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest: all that the client wants of a type, and what it says to the latest response."""

    type_url: str
    node: Node | None = None
    names: tuple[str, ...] = ()
    version: str = ""
    """`version_info` of the last response it took, on a former stream perhaps."""
    nonce: str = ""
    """Nonce of the last response it got on this stream."""
    error: str | None = None
    """Why that response was rejected: present makes this a NACK."""

    @classmethod
    def parse(cls, data: bytes) -> "SotwRequest":
        """Read a request from the wire; raises google.protobuf's DecodeError when it is not one."""
        message: Any = decode(_SOTW_REQUEST, data)
        return cls(
            type_url=message.type_url,
            node=_node(message.node) if message.HasField("node") else None,
            names=tuple(message.resource_names),
            version=message.version_info,
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
        )


Request = DeltaRequest | SotwRequest


def _node(message: Any) -> Node:
    version = message.user_agent_build_version.version
    dotted = f"{version.major_number}.{version.minor_number}.{version.patch}"
    return Node(
        id=message.id,
        cluster=message.cluster,
        metadata=MappingProxyType(MessageToDict(message.metadata)),
        region=message.locality.region,
        zone=message.locality.zone,
        sub_zone=message.locality.sub_zone,
        user_agent=f"{message.user_agent_name} {message.user_agent_version or dotted}".strip(),
    )
