"""Parts of a resource as bytes: a virtual host, a filter chain, a route, with what they refer to.

A wide resource is a join of pieces that are computed and cached on their own, so that a change costs the piece that
changed and a concatenation; equal pieces are shared between views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from betterproto2 import Message

from dragoman.codec import Encoded, Ref, content_hash, encode
from dragoman.codec.wire import LENGTH_DELIMITED, tag, varint


@dataclass(frozen=True, slots=True)
class Piece:
    """Encoded message without its field tag, in `parts` to be joined, and the xDS resources that it names.

    `digest` stands for the content: that of a join is a hash of the hashes of its parts, so that a change of one part
    does not hash the rest again.
    """

    digest: bytes
    refs: frozenset[Ref] = field(default_factory=frozenset)
    parts: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, message: Message, refs: Iterable[Ref] = ()) -> Piece:
        payload = encode(message)
        return cls(content_hash(payload), frozenset(refs), (payload,))

    @property
    def payload(self) -> bytes:
        """The bytes in one; joined at each call."""
        return b"".join(self.parts)

    def resource(self, type_url: str, name: str) -> Encoded:
        """The whole resource, when this is all of it."""
        return Encoded.of_parts(type_url, name, self.parts, self.digest, refs=self.refs)


NOTHING = Piece(content_hash())
"""No message: nothing is added by it."""


def joined(number: int, pieces: Iterable[Piece]) -> Piece:
    """The pieces as elements of the repeated field `number`, copied into one; protobuf lets encoded messages be
    concatenated (Protocol Buffers: Encoding, "Last One Wins" and repeated fields)."""
    listed = tuple(pieces)
    if not listed:
        return NOTHING
    tagged = tag(number, LENGTH_DELIMITED)
    parts: list[bytes] = []
    for piece in listed:
        parts += (tagged, varint(sum(map(len, piece.parts))), *piece.parts)
    digest = content_hash(b"joined %d" % number, *(piece.digest for piece in listed))
    return Piece(digest, _refs(listed), (b"".join(parts),))


def concatenated(pieces: Iterable[Piece], refs: frozenset[Ref] | None = None) -> Piece:
    """Encoded fragments of one message, one after the other; nothing is copied. `refs` is what all of them name, where
    that is known."""
    listed = tuple(pieces)
    digest = content_hash(b"concatenated", *(piece.digest for piece in listed))
    return Piece(
        digest, _refs(listed) if refs is None else refs, tuple(part for piece in listed for part in piece.parts)
    )


def _refs(pieces: Iterable[Piece]) -> frozenset[Ref]:
    """What any of the pieces names; one set where they name the same, as there are many and they are alike."""
    named = {piece.refs for piece in pieces if piece.refs}
    return named.pop() if len(named) == 1 else frozenset().union(*named)
