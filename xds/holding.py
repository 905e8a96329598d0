"""What a client holds of a type, as a short string: the `version_info` of responses that carry some of it.

Clients that reconnect by state of the world tell one version a type, that of the last response they took (xDS protocol,
"ACK/NACK and versioning"). Of what comes whole it says everything. Of the rest a response carries what changed, so its
version has to say what the client holds *after* it: a sum of hashes, which costs what changed, is the same after a
restart and in every replica, and does not depend on the way that led there. It is kept in lanes, chosen by name, so
that one resource that differs does not cast doubt on all.
"""

from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Final
from zlib import crc32

LANES: Final = 4
UNKNOWN: Final = "unknown"
"""The version of a response after which the client may still hold one of several versions of something."""

_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1
_STRIDE: Final = 96
"""Bits from lane to lane: sums of 2^32 hashes do not reach the next one."""


def mark(name: str, version: str) -> int:
    """Return what a resource adds to the sum."""
    hashed = blake2b(f"{name}\0{version}".encode(), digest_size=_BITS // 8).digest()
    return int.from_bytes(hashed) << (lane(name) * _STRIDE)


def lane(name: str) -> int:
    """Return which part of the sum tells of this name."""
    return crc32(name.encode()) % LANES


def version_of(total: int) -> str:
    """Return a sum of marks as `version_info`."""
    return ".".join(_lane_texts(total))


def certain_lanes(version: str, total: int) -> frozenset[int]:
    """Return the lanes in which a client that tells this version holds what adds up to `total`."""
    told = version.split(".")
    return frozenset(number for number, text in enumerate(_lane_texts(total)) if told[number : number + 1] == [text])


def _lane_texts(total: int) -> list[str]:
    sums = (total >> (number * _STRIDE) & _MASK for number in range(LANES))
    return [urlsafe_b64encode(each.to_bytes(_BITS // 8)).decode().rstrip("=") for each in sums]
