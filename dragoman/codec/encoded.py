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
    payload: bytes = field(compare=False, repr=False)
    """The message on the wire, without the Any around it. `version` stands for it in comparisons."""
    refs: frozenset[Ref]
    """Other xDS resources this one needs: updates are ordered by them."""
    version: str
    """Hash of the payload: equal content has an equal version, across restarts and replicas."""

    @classmethod
    def of(cls, message: Message, *, refs: frozenset[Ref] = frozenset()) -> Self:
        """Encode a resource under its own name (`cluster_name` for a ClusterLoadAssignment)."""
        named: AnyValue = message
        name = named.cluster_name if (url := type_url(type(message))) == ENDPOINT else named.name
        return cls.of_payload(url, name, encode(message), refs=refs)

    @classmethod
    def of_payload(
        cls,
        type_url: str,
        name: str,
        payload: bytes,
        *,
        refs: frozenset[Ref] = frozenset(),
        digest: bytes | None = None,
    ) -> Self:
        """Make a resource of bytes that are already encoded: joined from cached parts, or patched.

        `digest` is a hash that stands for the payload, such as one of the hashes of its parts; None hashes all of it.
        """
        digest = content_hash(payload) if digest is None else digest
        return cls(type_url, name, payload, refs, digest.hex())
