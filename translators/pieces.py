"""Parts of a resource as bytes: a virtual host, a filter chain, a route, with what they refer to.

A wide resource is a join of pieces that are computed and cached on their own, so that a change costs the piece that
changed and a concatenation; equal pieces are shared between views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from betterproto2 import Message

from dragoman.codec import Encoded, Ref, content_hash, encode, frame


@dataclass(frozen=True, slots=True)
class Piece:
    """Encoded message without its field tag, and the xDS resources that it names.

    `digest` stands for the payload: that of a join is a hash of the hashes of its parts, so that a change of one part
    does not hash the rest again.
    """

    payload: bytes = field(compare=False, repr=False)
    refs: frozenset[Ref] = frozenset()
    digest: bytes = b""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", content_hash(self.payload))

    @classmethod
    def of(cls, message: Message, refs: Iterable[Ref] = ()) -> Piece:
        return cls(encode(message), frozenset(refs))

    def resource(self, type_url: str, name: str) -> Encoded:
        """The whole resource, when this is all of it."""
        return Encoded.of_payload(type_url, name, self.payload, refs=self.refs, digest=self.digest)


def joined(number: int, pieces: Iterable[Piece]) -> Piece:
    """The pieces as elements of the repeated field `number`; protobuf lets encoded messages be concatenated
    (Protocol Buffers: Encoding, "Last One Wins" and repeated fields)."""
    listed = tuple(pieces)
    return Piece(
        b"".join(frame(number, piece.payload) for piece in listed),
        _refs(listed),
        content_hash(b"joined %d" % number, *(piece.digest for piece in listed)),
    )


def concatenated(pieces: Iterable[Piece]) -> Piece:
    """Encoded fragments of one message, one after the other."""
    listed = tuple(pieces)
    return Piece(
        b"".join(piece.payload for piece in listed),
        _refs(listed),
        content_hash(b"concatenated", *(piece.digest for piece in listed)),
    )


def _refs(pieces: tuple[Piece, ...]) -> frozenset[Ref]:
    return frozenset().union(*(piece.refs for piece in pieces))
