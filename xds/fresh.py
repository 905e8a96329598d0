"""What clients are sent of names under which they hold nothing: the same for all that ask alike.

A fleet that connects asks for the same thousands of names in the same order. What the first of it is sent is remembered
by the view, so that the others are not looked at name by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from xds.resource import Resource

WORTHWHILE: Final = 16
"""Names from which on remembering is cheaper than looking."""


@dataclass(frozen=True, slots=True)
class FreshBatch:
    """One response's worth."""

    names: tuple[str, ...]
    """In the order in which they were asked for."""
    resources: tuple[Resource, ...]
    """In the order in which they are sent."""


class FreshBatches:
    """The batches of one view, until what it serves of their type changes."""

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: dict[str, dict[tuple[str, int], FreshBatch]] = {}

    def find(self, type_url: str, behind: Mapping[str, object], limit: int) -> FreshBatch | None:
        """Return what a client that lacks `behind` is sent first, if that is known: the same names, nothing held."""
        batches = self._batches.get(type_url)
        if not batches or not behind:
            return None
        batch = batches.get((next(iter(behind)), limit))
        if batch is None:
            return None
        count = len(batch.names)
        same = tuple(islice(behind, count)) == batch.names and not any(islice(behind.values(), count))
        return batch if same else None

    def keep(self, type_url: str, behind: Mapping[str, object], limit: int, resources: tuple[Resource, ...]) -> None:
        """Remember what a client is sent, if that is the first names that it lacks and it holds nothing of them."""
        count = len(resources)
        if count < WORTHWHILE:
            return
        names = tuple(islice(behind, count))
        if not any(islice(behind.values(), count)) and set(names) == {resource.name for resource in resources}:
            self._batches.setdefault(type_url, {})[names[0], limit] = FreshBatch(names, resources)

    def forget(self, type_url: str) -> None:
        """What is served of a type changed."""
        self._batches.pop(type_url, None)
