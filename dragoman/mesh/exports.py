"""Who may see an object: `exportTo` (Istio: pkg/config/visibility; API `exportTo`)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

PRIVATE = "."
PUBLIC = "*"
NONE = "~"

EXPORT_ANNOTATION = "networking.istio.io/exportTo"


def exports(export_to: Iterable[str], owner: str, default: Iterable[str]) -> frozenset[str]:
    """`exportTo` with `.` resolved to the owner's namespace; an empty list means the mesh's default."""
    return _resolved(tuple(export_to) or tuple(default), owner)


@lru_cache(4096)
def _resolved(listed: tuple[str, ...], owner: str) -> frozenset[str]:
    """Objects by the thousands share a handful of values."""
    return frozenset(owner if entry == PRIVATE else entry for entry in listed)


def visible(exported: frozenset[str], client: str) -> bool:
    """Whether an object exported to `exported` is seen from namespace `client`."""
    return PUBLIC in exported or client in exported
