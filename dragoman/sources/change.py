"""What a source hands on: changes of objects, and what there is to say about them."""

from dataclasses import dataclass

from crds.meta import ObjectKey
from crds.problem import Problem


@dataclass(frozen=True, slots=True)
class Change:
    """One object was added (``old`` is None), replaced, or removed (``new`` is None)."""

    key: ObjectKey
    old: object | None
    new: object | None


@dataclass(frozen=True, slots=True)
class Report:
    """A problem and the line of the file where its author finds it.

    ``line`` counts from 1; an object of an API server has neither, its key says where it is. ``key`` is None where no
    object could be recognised. ``kept_last_good`` says that an earlier version of the object (or, without a key, of
    what the file held) stays in force.
    """

    file: str
    line: int
    key: ObjectKey | None
    problem: Problem
    kept_last_good: bool = False

    def __str__(self) -> str:
        """``file:line: DRG0101 VirtualService default/reviews: spec.http[0]: message (remedy)``, in one line.

        What is in no file begins with the code.
        """
        problem = self.problem
        what = []
        if self.key is not None:
            what.append(str(self.key))
        if problem.path:
            what.append(problem.path)
        what.append(problem.message + (f" ({problem.remedy})" if problem.remedy else ""))
        kept = "; the last good version stays in force" if self.kept_last_good else ""
        place = f"{self.file}:{self.line}: " if self.file else ""
        line = f"{place}{problem.code} {': '.join(what)}{kept}"
        return " ".join(line.split())


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened together: one transaction of the engine. Changes are sorted by key, reports by file and line.

    `judged` are objects of which something else is to be said than before, or nothing any more.
    """

    changes: tuple[Change, ...] = ()
    reports: tuple[Report, ...] = ()
    judged: frozenset[ObjectKey] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.changes or self.reports or self.judged)
