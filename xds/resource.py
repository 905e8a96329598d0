"""One xDS resource as streams carry it: interned, content-addressed, its bytes held once."""

from dataclasses import dataclass
from weakref import WeakValueDictionary

from dragoman.codec import Encoded, Ref, frame
from dragoman.codec.wire import LENGTH_DELIMITED, tag, varint
from xds.holding import mark

_interned: "WeakValueDictionary[tuple[str, str, str], Resource]" = WeakValueDictionary()


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Resource:
    """A resource and its framing.

    Equal content is one object wherever it is seen (`is` compares), so two views that share a cluster share its bytes.
    `head` and `parts` are the field `resources` (2) of a DeltaDiscoveryResponse: the payload comes last on the wire, so
    responses are joined from parts, and those are the very objects that the codec produced. From `any_at` on the same
    bytes are the field `resources` (2) of a DiscoveryResponse: the Any in the middle happens to be a field 2 too.
    """

    type_url: str
    name: str
    version: str
    refs: frozenset[Ref]
    parts: tuple[bytes, ...]
    """The payload in pieces, to be joined where it is sent."""
    head: bytes
    any_at: int
    """Where in `head` the tag of the Any begins."""
    size: int
    """Bytes this resource takes in a response."""
    mark: int
    """Its part of what tells a client's holdings (`xds.holding`)."""

    @classmethod
    def of(cls, encoded: Encoded) -> "Resource":
        """Return the one resource with this type, name and content."""
        key = (encoded.type_url, encoded.name, encoded.version)
        found = _interned.get(key)
        if found is None or found.refs != encoded.refs:
            payload = sum(map(len, encoded.parts))
            head, any_at = _head(encoded, payload)
            size = len(head) + payload
            found = _interned[key] = cls(
                encoded.type_url,
                encoded.name,
                encoded.version,
                encoded.refs,
                encoded.parts,
                head,
                any_at,
                size,
                mark(encoded.name, encoded.version),
            )
        return found

    @property
    def ref(self) -> Ref:
        return self.type_url, self.name

    @property
    def payload(self) -> bytes:
        """The message on the wire, without the Any around it; joined at each call."""
        return b"".join(self.parts)

    @property
    def wire(self) -> bytes:
        """The framed field, ready to be concatenated into a response."""
        return b"".join((self.head, *self.parts))

    def __repr__(self) -> str:
        # Never the payload: a secret's would put a private key into logs and tracebacks.
        return f"Resource({self.type_url.rpartition('.')[2]} {self.name} {self.version})"


def _head(encoded: Encoded, payload: int) -> tuple[bytes, int]:
    """Return all that precedes `payload` bytes in `DeltaDiscoveryResponse.resources`, and where the Any begins.

    envoy.service.discovery.v3.Resource has version = 1, resource (Any) = 2, name = 3. Field order is free on the wire,
    so the Any goes last, and within it `value` (2) after `type_url` (1).
    """
    value = tag(2, LENGTH_DELIMITED) + varint(payload)
    any_fields = frame(1, encoded.type_url.encode()) + value
    any_field = tag(2, LENGTH_DELIMITED) + varint(len(any_fields) + payload) + any_fields
    fields = frame(1, encoded.version.encode()) + frame(3, encoded.name.encode()) + any_field
    head = tag(2, LENGTH_DELIMITED) + varint(len(fields) + payload) + fields
    return head, len(head) - len(any_field)
