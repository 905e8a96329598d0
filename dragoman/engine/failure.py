"""Failures as values: what a query that raised leaves behind, and the exceptions by which its readers learn of it.

Exception
├── QueryFailed        a reader called a query that failed; carries the `Failure`
├── CycleError         the root cause of queries that need their own value
├── NestingError       the root cause of queries that call each other without an end
└── TransactionError   a write or a mount at a time when it cannot be
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dragoman.engine.query import Call


class Absent(Enum):
    """The type of `ABSENT`, an enum so that type checkers can narrow it away."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return self.name


ABSENT: Final = Absent.ABSENT
"""The last good value of a query that never succeeded."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """The memoised outcome of a query that raised, with the reads it had made until then.

    Two failures are equal when the same query failed for the same reason: exceptions are compared by type and content,
    because a query that runs again raises a new object.
    """

    error: Exception
    """The root cause, without traceback: a traceback would keep frames, and all their locals, alive."""
    call: Call[Any]
    """The query that failed."""
    last_good: Any
    """Its last value, or `ABSENT`."""
    origins: frozenset[Call[Any]]
    """The queries that raised the root cause: `call` itself, one that it reads, or all members of a cycle."""
    location: str = ""
    """Where the root cause was raised, `module.function:line`, in place of the traceback."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failure):
            return NotImplemented
        return self is other or (
            self.call == other.call
            and self.origins == other.origins
            and _same_error(self.error, other.error)
            and (self.last_good is other.last_good or bool(self.last_good == other.last_good))
        )

    def __hash__(self) -> int:
        return hash((self.call, self.origins, type(self.error)))

    def __str__(self) -> str:
        where = "" if self.call in self.origins else " in " + ", ".join(sorted(map(str, self.origins)))
        return f"{self.call} failed{where}: {type(self.error).__name__}: {self.error}"


def last_good(outcome: Any) -> Any:
    """The value of an outcome, or the last one that there was if it is a failure (`ABSENT` without any)."""
    return outcome.last_good if isinstance(outcome, Failure) else outcome


class QueryFailed(Exception):  # noqa: N818 - says what happened, as "query failed because"
    """Raised where a failed query is read; a reader that does not catch it fails with the same root cause."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return str(self.failure)


class CycleError(Exception):
    """The queries of `calls` need each other's values; every one of them fails with this error."""

    def __init__(self, calls: frozenset[Call[Any]] = frozenset()) -> None:
        super().__init__(calls)
        self.calls = calls

    def __str__(self) -> str:
        return "these need each other: " + ", ".join(sorted(map(str, self.calls)))


class NestingError(Exception):
    """Queries call each other deeper than the engine follows: most likely a recursion on a key that never repeats."""


class TransactionError(Exception):
    """The graph cannot be changed now: another transaction runs, or a query is being computed."""


def failure_of(error: Exception, call: Call[Any], last_good: Any) -> Failure:
    """The failure of `call` by `error`, which loses its tracebacks.

    Origins are found through the chain of causes, so that a query may translate a failure it read (`raise … from`)
    without hiding where it began.
    """
    if type(error) is QueryFailed:
        read = error.failure
        return Failure(read.error, call, last_good, read.origins, read.location)
    location = _location(error.__traceback__)
    origins: set[Call[Any]] = set()
    for cause in _detach(error, sys.exception()):
        if isinstance(cause, QueryFailed):
            origins |= cause.failure.origins
    return Failure(error, call, last_good, frozenset(origins) or frozenset((call,)), location)


def _detach(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    """Every exception of the chain, its traceback taken away; the chain ends before `handled`, which is not ours."""
    todo, seen = [error], {id(error)}
    while todo:
        current = todo.pop()
        current.__traceback__ = None
        if current.__context__ is handled:
            current.__context__ = None
        yield current
        linked = [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            linked += current.exceptions
        for other in linked:
            if other is not None and other is not handled and id(other) not in seen:
                seen.add(id(other))
                todo.append(other)


def _location(traceback: TracebackType | None) -> str:
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    return f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}:{traceback.tb_lineno}"


def _same_error(one: Exception, other: Exception) -> bool:
    return one is other or (type(one) is type(other) and one.args == other.args and vars(one) == vars(other))
