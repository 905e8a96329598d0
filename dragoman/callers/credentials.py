"""What a caller brings along to prove who it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from xds import Peer

MAX_TOKEN: Final = 16 << 10
"""Bytes of the largest token that is looked at: tokens of service accounts have 1 to 2 KiB."""

_BEARER: Final = "bearer "


class NotAuthenticatedError(Exception):
    """The credentials do not hold. `str()` says why and what to do; it never repeats them."""


class UnavailableError(Exception):
    """It could not be found out whether the credentials hold. The caller may try again."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`certificate` (DER) was verified by TLS under the mesh's roots; of the rest nothing is believed yet.

    `address` is the peer's as gRPC names it, `xfcc` the header `x-forwarded-client-cert`.
    """

    address: str
    certificate: bytes | None = None
    token: str | None = field(default=None, repr=False)
    xfcc: str | None = None

    @classmethod
    def of(cls, peer: Peer) -> Credentials:
        """The credentials of a call; raises `NotAuthenticatedError` for a token that is too large to be one."""
        authorization = peer.metadata.get("authorization", "")
        xfcc = peer.metadata.get("x-forwarded-client-cert")
        if len(authorization) > MAX_TOKEN or (xfcc is not None and len(xfcc) > MAX_TOKEN):
            raise NotAuthenticatedError(f"the credentials are larger than {MAX_TOKEN} bytes")
        token = None
        # Scheme names are case-insensitive (RFC 9110, section 11.1).
        if isinstance(authorization, str) and authorization[: len(_BEARER)].lower() == _BEARER:
            token = authorization[len(_BEARER) :].strip() or None
        return cls(peer.address, peer.certificate, token, xfcc if isinstance(xfcc, str) else None)
