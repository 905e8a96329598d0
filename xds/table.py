"""Resources of one type that a view serves, and a log of what each of them was before."""

from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from xds.resource import Resource
from xds.step import Place, Step
from xds.subscription import Names

COMPACT_AT: Final = 1024
"""Entries of a log. Each holds a former version, which nobody needs once all streams have read of it."""
COMPACT_BYTES: Final = 8 << 20
"""Bytes of the former versions that a log keeps: those of wide resources are large."""


class Table:
    """Resources by name, and who was replaced since: (name, what it was before)."""

    __slots__ = ("_base", "_holdings", "_log", "_served", "_size", "served", "steps")

    def __init__(self) -> None:
        self._served: dict[str, Resource] = {}
        self.served: Mapping[str, Resource] = self._served
        """What is served, by name. Live: not to be kept."""
        self._log: list[tuple[str, Resource | None]] = []
        self._size = 0
        """Bytes of the resources in the log."""
        self._base = 0
        """The position of the log's first entry."""
        self._holdings: WeakKeyDictionary[Names, tuple[int, int]] = WeakKeyDictionary()
        """By subscription: a position in the log, and the sum of the marks of what was served there."""
        self.steps: dict[Place, Step] = {}
        """To the end of the log, until it grows."""

    @property
    def head(self) -> int:
        """The position after the newest entry of the log."""
        return self._base + len(self._log)

    def since(self, position: int) -> list[tuple[str, Resource | None]]:
        """Return the changes after `position`: names, each with what was served before."""
        return self._log[position - self._base :]

    def put(self, name: str, resource: Resource | None) -> None:
        """Serve another version under the name, or nothing any more; it is logged."""
        before = self._served.get(name)
        if resource is None:
            self._served.pop(name, None)
        else:
            self._served[name] = resource
        self._log.append((name, before))
        self.steps.clear()
        self._size += 0 if before is None else before.size

    def holding(self, names: Names) -> int:
        """Return the sum of the marks of what is served of these names; costs what changed since it was last asked."""
        served, wanted = self._served, names.values
        known = self._holdings.get(names)
        if known is None or known[0] < self._base:
            few, many = (wanted, served) if len(wanted) < len(served) else (served, wanted)
            total = sum(served[name].mark for name in few if name in many)
        else:
            position, total = known
            first: dict[str, Resource | None] = {}
            for name, before in self.since(position):
                if name in wanted:
                    first.setdefault(name, before)
            for name, before in first.items():
                after = served.get(name)
                total += (0 if after is None else after.mark) - (0 if before is None else before.mark)
        self._holdings[names] = (self.head, total)
        return total

    @property
    def long(self) -> bool:
        """Whether the log should be compacted."""
        return len(self._log) > COMPACT_AT or self._size > COMPACT_BYTES

    def compact(self) -> None:
        """Forget the log's entries; whoever reads it must have read it to its end."""
        self._base += len(self._log)
        self._log.clear()
        self._size = 0
