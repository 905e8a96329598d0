"""One replica's part in keeping the CA: it follows the shared state, reports what its proxies trust, and moves the
state on when everybody has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from ca import rotation_document
from ca.authority import DEFAULT_LIFETIME, Authority
from ca.rotation import OVERLAP, REPORT_EVERY, Report, Rotation, renewal_due
from ca.store import ConflictError, Store, update

_LEAST_SLACK: Final = timedelta(seconds=5)
_NAMED: Final = 20
"""How many of the proxies that are waited for are named in the state, which may be small (Kubernetes: 1 MiB)."""

Waiting = Callable[[str, datetime], tuple[str, ...]]
"""The proxies of this replica that are not known to trust a bundle, by its digest."""


class Keeper:
    """The CA as this replica knows it. `open` comes first; `turn` at every change and every few seconds.

    `lifetime` is how long the certificates live that this replica signs unasked; `renew` makes a new root when the old
    one nears its end, None where somebody else sees to that (a CA that was plugged in).
    """

    def __init__(
        self,
        store: Store,
        replica: str,
        *,
        lifetime: timedelta = DEFAULT_LIFETIME,
        overlap: timedelta = OVERLAP,
        renew: Callable[[datetime], Authority] | None = None,
    ) -> None:
        self._store = store
        self._replica = replica
        self._lifetime = lifetime
        # The bound runs ahead, so that it is written rarely, and a replica that has not yet heard of a new root stays
        # within it.
        self._slack = max(lifetime / 24, _LEAST_SLACK)
        self._overlap = overlap
        self._renew = renew
        self._state: Rotation | None = None
        self._authority: Authority | None = None
        self._version = ""

    @property
    def state(self) -> Rotation:
        assert self._state is not None, "not opened"  # noqa: S101
        return self._state

    @property
    def authority(self) -> Authority:
        """What signs now, with the whole trust bundle."""
        assert self._authority is not None, "not opened"  # noqa: S101
        return self._authority

    def _take(self, state: Rotation, version: str) -> None:
        before, self._state, self._version = self._state, state, version
        if before is None or (before.active, before.roots) != (state.active, state.roots):
            self._authority = state.authority

    async def open(self, first: Callable[[], Authority], now: datetime) -> Authority:
        """Read the state, or begin it with `first()`: of replicas that start at once, one does. Raises `StoreError`."""

        def opened(state: Rotation | None) -> Rotation:
            state = state if state is not None else Rotation(first(), since=now)
            if (state.plugged_in, state.overlap) != (self._renew is None, self._overlap):
                state = replace(state, plugged_in=self._renew is None, overlap=self._overlap)
            return self._covered(state, now)

        self._take(*await update(self._store, opened))
        return self.authority

    async def offer(self, authority: Authority, now: datetime) -> None:
        """The operator gives this CA: go over to it. Raises `StoreError`."""
        self._take(*await update(self._store, lambda state: (state or self.state).begin(authority, now)))

    async def promise(self, until: datetime) -> Authority:
        """What to sign a certificate with that lives until `until` and goes to a caller who keeps its key.

        Returns once the state tells of it: only then may it be given away. Raises `StoreError`.
        """
        if until > min(self.state.bound, self.state.requested_bound):
            ahead = until + self._slack
            self._take(*await update(self._store, lambda state: (state or self.state).cover(ahead, requested=True)))
        return self.authority

    async def turn(self, use: Callable[[Authority], None], waiting: Waiting, now: datetime) -> Rotation:
        """Follow, report, move on. `use` is told what to sign with before this replica reports that its proxies trust
        it. Raises `StoreError`; what there was goes on then."""
        while True:
            document, version = await self._store.read()
            if document is not None and version != self._version:
                self._take(rotation_document.load(document), version)
            state = self.state
            use(self.authority)
            moved = self._moved(state, waiting(state.bundle, now), now)
            if moved is state:
                return state
            try:
                version = await self._store.replace(rotation_document.dump(moved), version)
            except ConflictError:
                continue
            self._take(moved, version)
            use(self.authority)
            return moved

    async def leave(self) -> None:
        """This replica stops: nobody is to wait for it. Raises `StoreError`."""
        await update(self._store, lambda state: (state or self.state).left(self._replica))

    def _moved(self, state: Rotation, waiting: tuple[str, ...], now: datetime) -> Rotation:
        before = state.reports.get(self._replica)
        report = Report(now, state.bundle, waiting[:_NAMED])
        if (
            before is None
            or (before.bundle, before.waiting) != (report.bundle, report.waiting)
            or now - before.at >= REPORT_EVERY
        ):
            state = state.heard(self._replica, report)
        if self._renew is not None and state.next is None and renewal_due(state.active, now):
            state = state.begin(self._renew(now), now)
        return self._covered(state.step(now), now)

    def _covered(self, state: Rotation, now: datetime) -> Rotation:
        needed = now + self._lifetime
        return state if state.bound >= needed + self._slack / 2 else state.cover(needed + self._slack)
