"""Which proxies of this control plane are known to trust which bundle. Sans-io."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

GRACE: Final = timedelta(minutes=1)
"""How long a proxy that lost its stream is waited for: Envoy tries again within 30 seconds (Envoy: the default
`retry_backoff` of xDS streams), here or at another replica."""


@dataclass(slots=True)
class _Entry:
    seen: datetime
    bundle: str
    """Digest of the last bundle that it confirmed; empty for none."""


class TrustLedger:
    """Every proxy that is connected or was a moment ago. `bundle` is always a digest of `ca.rotation`."""

    def __init__(self, grace: timedelta = GRACE) -> None:
        self._grace = grace
        self._entries: dict[str, _Entry] = {}

    def seen(self, proxy: str, now: datetime, *, confirmed: str | None = None) -> None:
        """`proxy` is connected, or has just left. `confirmed` is the bundle that it is now known to have."""
        entry = self._entries.setdefault(proxy, _Entry(now, ""))
        entry.seen = now
        if confirmed is not None:
            entry.bundle = confirmed

    def waiting(self, bundle: str, now: datetime) -> tuple[str, ...]:
        """The proxies that are not known to trust `bundle`; those gone for good are forgotten."""
        gone = [proxy for proxy, entry in self._entries.items() if now - entry.seen > self._grace]
        for proxy in gone:
            del self._entries[proxy]
        return tuple(sorted(proxy for proxy, entry in self._entries.items() if entry.bundle != bundle))
