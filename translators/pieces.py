"""Parts of a resource as bytes: a virtual host, a filter chain, a route, with what they refer to.

A wide resource is a join of pieces that are computed and cached on their own, so that a change costs the piece that
changed and a concatenation; equal pieces are shared between views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from betterproto2 import Message

from dragoman.codec import Ref, encode, frame


@dataclass(frozen=True, slots=True)
class Piece:
    """Encoded message without its field tag, and the xDS resources that it names."""

    payload: bytes
    refs: frozenset[Ref] = frozenset()

    @classmethod
    def of(cls, message: Message, refs: Iterable[Ref] = ()) -> Piece:
        return cls(encode(message), frozenset(refs))


def joined(field: int, pieces: Iterable[Piece]) -> Piece:
    """The pieces as elements of repeated field number `field`; protobuf lets encoded messages be concatenated
    (Protocol Buffers: Encoding, "Last One Wins" and repeated fields)."""
    listed = tuple(pieces)
    refs: frozenset[Ref] = frozenset().union(*(piece.refs for piece in listed))
    return Piece(b"".join(frame(field, piece.payload) for piece in listed), refs)


def concatenated(pieces: Iterable[Piece]) -> Piece:
    """Encoded fragments of one message, one after the other."""
    listed = tuple(pieces)
    return Piece(b"".join(piece.payload for piece in listed), frozenset().union(*(piece.refs for piece in listed)))
