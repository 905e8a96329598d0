"""Leader election by a Lease, without IO: what one candidate knows, may write, and whether it leads.

Theory of operation
===================

*The Lease is written by whoever holds it*, every `retry` seconds, and only if nobody else wrote in between (optimistic
locking by resourceVersion; Kubernetes: coordination.k8s.io/v1 Lease, client-go tools/leaderelection).

*No two clocks are compared.* A candidate takes the Lease of another only after it has itself seen it unchanged for
`duration`. The holder counts from the moment at which it *sent* the last write that succeeded, and leads for two thirds
of that time only. So there is at most one leader as long as no clock runs half as fast again as another.

*Who stops lets go*: a Lease without a holder is free at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    duration: float = 15.0
    """How long the others wait for a holder that does not write."""
    retry: float = 2.0
    """Between writes, and between tries."""

    @property
    def leads_for(self) -> float:
        """How long after sending its last write the holder leads: the rest is for clocks that differ."""
        return self.duration * 2 / 3


@dataclass(frozen=True, slots=True)
class Record:
    """A Lease as it was read."""

    holder: str
    """Empty when it was let go."""
    duration: float
    """What its holder promised."""
    transitions: int
    """How often it changed hands."""
    version: str
    """Which write this is."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write: replaces the version named, or creates the Lease where that is empty."""

    holder: str
    duration: float
    transitions: int
    version: str
    acquires: bool
    """The holder is another than before."""


NOBODY: Final = ""


class Candidate:
    """One of those who may lead. Times are of a monotonic clock of its own."""

    def __init__(self, name: str, timing: Timing | None = None) -> None:
        if not name:
            raise ValueError("a candidate needs a name")
        self.name = name
        self.timing = timing or Timing()
        self._record: Record | None = None
        self._seen_at: float | None = None
        """When the record was first seen as it is; None before anything was read."""
        self._held_since: float | None = None
        """When the write was sent that made this candidate the holder, or kept it."""
        self._next = 0.0
        """Not before this is another try."""

    # -- heard ------------------------------------------------------------------------------------------------------

    def observed(self, record: Record | None, now: float) -> None:
        """The Lease was read; None where there is none."""
        if self._seen_at is None or record != self._record:
            self._record, self._seen_at = record, now
        if record is None or record.holder != self.name:
            self._held_since = None

    def wrote(self, record: Record, sent_at: float, now: float) -> None:
        """A write that was sent at `sent_at` succeeded: the Lease is this now."""
        self._record, self._seen_at = record, now
        self._held_since = sent_at if record.holder == self.name else None
        self._next = sent_at + self.timing.retry

    def failed(self, now: float) -> None:
        """A write or a read failed, or it is not known whether it did."""
        self._next = now + self.timing.retry

    # -- asked ------------------------------------------------------------------------------------------------------

    def leads(self, now: float) -> bool:
        """Whether this candidate leads. Time alone can end that: see `until`."""
        return self._held_since is not None and now < self._held_since + self.timing.leads_for

    @property
    def until(self) -> float | None:
        """When leading ends if no write succeeds; None for who does not lead."""
        return None if self._held_since is None else self._held_since + self.timing.leads_for

    @property
    def leader(self) -> str:
        """Who holds the Lease, as far as is known; empty for nobody."""
        return NOBODY if self._record is None else self._record.holder

    def due(self) -> float:
        """When to ask `attempt` again, if nothing is heard before."""
        if self._seen_at is None or self.holds or self._free:
            return self._next
        assert self._record is not None  # noqa: S101 - else it would be free
        return max(self._next, self._seen_at + max(self._record.duration, self.timing.duration))

    def attempt(self, now: float) -> Attempt | None:
        """What to write now: to become the holder, or to stay it. Before anything was read: nothing."""
        if self._seen_at is None or now < self.due():
            return None
        record = self._record
        if record is None:
            return Attempt(self.name, self.timing.duration, 0, "", acquires=True)
        acquires = record.holder != self.name
        return Attempt(self.name, self.timing.duration, record.transitions + acquires, record.version, acquires)

    def release(self) -> Attempt | None:
        """Stop leading, now; what to write so that others need not wait. None for who holds nothing."""
        self._held_since = None
        record = self._record
        if record is None or not self.holds:
            return None
        return Attempt(NOBODY, 1.0, record.transitions, record.version, acquires=False)

    @property
    def holds(self) -> bool:
        """Whether the Lease names this candidate, as far as is known: who leads holds it."""
        return self._record is not None and self._record.holder == self.name

    @property
    def _free(self) -> bool:
        return self._record is None or not self._record.holder
