"""xDS resources as what they are on the wire, with all that a stream needs to know of them."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any as AnyValue
from typing import Final, Self

from betterproto2 import Message
from envoy_data_plane.google.protobuf import Any

from dragoman.codec.encoder import encode
from dragoman.codec.schema import TYPE_URL_PREFIX, type_url

Ref = tuple[str, str]
"""Type URL and name of a resource."""

CLUSTER: Final = TYPE_URL_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = TYPE_URL_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = TYPE_URL_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE: Final = TYPE_URL_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET: Final = TYPE_URL_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION_CONFIG: Final = TYPE_URL_PREFIX + "envoy.config.core.v3.TypedExtensionConfig"


def pack(message: Message) -> Any:
    """Return `message` as a google.protobuf.Any, for `typed_config` and the like."""
    return Any(type_url=type_url(type(message)), value=encode(message))


def content_hash(*parts: bytes) -> bytes:
    """Eight bytes that stand for some content, or for the hashes of its parts."""
    return blake2b(b"".join(parts), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class Encoded:
    """One xDS resource, ready to send."""

    type_url: str
    name: str
    version: str
    """Hash of the payload: equal content has an equal version, across restarts and replicas."""
    refs: frozenset[Ref]
    """Other xDS resources this one needs: updates are ordered by them."""
    parts: tuple[bytes, ...] = field(compare=False, repr=False)
    """The payload in pieces. A wide resource shares them with what it was joined from, and they are joined only where
    they are sent, into the response. `version` stands for them in comparisons."""

    @property
    def payload(self) -> bytes:
        """The message on the wire, without the Any around it; joined at each call."""
        return b"".join(self.parts)

    @classmethod
    def of(cls, message: Message, *, refs: frozenset[Ref] = frozenset()) -> Self:
        """Encode a resource under its own name (`cluster_name` for a ClusterLoadAssignment)."""
        named: AnyValue = message
        name = named.cluster_name if (url := type_url(type(message))) == ENDPOINT else named.name
        return cls.of_payload(url, name, encode(message), refs=refs)

    @classmethod
    def of_payload(cls, type_url: str, name: str, payload: bytes, *, refs: frozenset[Ref] = frozenset()) -> Self:
        """Make a resource of bytes that are already encoded, or patched."""
        return cls.of_parts(type_url, name, (payload,), content_hash(payload), refs=refs)

    @classmethod
    def of_parts(
        cls, type_url: str, name: str, parts: tuple[bytes, ...], digest: bytes, *, refs: frozenset[Ref] = frozenset()
    ) -> Self:
        """Make a resource of cached parts; `digest` stands for their content, such as a hash of their hashes."""
        return cls(type_url, name, digest.hex(), refs, parts)
