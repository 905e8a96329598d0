"""Slices of time: wide queries give up their turn and go on where their reads are memoised."""

from __future__ import annotations

from collections.abc import Callable


class Preempted(BaseException):
    """The slice is used up. The queries on the stack stay to be computed; all they had read is kept."""


class Slice:
    """One turn of evaluation, until `deadline`.

    A query that was preempted runs again from its beginning, over reads that cost next to nothing by now. A turn lasts
    at least twice as long as it took to get to the first new result: so every turn makes progress, and going over the
    same reads again never costs more than the work itself.
    """

    __slots__ = ("_began", "_clock", "_end", "deadline")

    def __init__(self, clock: Callable[[], float], deadline: float) -> None:
        self._clock = clock
        self._began = clock()
        self._end: float | None = None
        self.deadline = deadline

    def check(self) -> None:
        """To be called with each new result; raises `Preempted` at the end of the turn."""
        now = self._clock()
        if self._end is None:
            self._end = max(self.deadline, 2 * now - self._began)
        elif now >= self._end:
            raise Preempted
