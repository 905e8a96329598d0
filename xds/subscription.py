"""Which names of a type a client subscribed to, shared between clients that want the same."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

WILDCARD: Final = "*"

MAX_TYPES: Final = 64
"""Types per stream. Envoy uses about ten."""
MAX_NAMES: Final = 200_000
"""Names per stream, all types together: more than Envoy has clusters and endpoints in the largest meshes."""
MAX_LENGTH: Final = 4096
"""Characters of a name or type URL."""


class LimitExceededError(ValueError):
    """A client subscribes more than a stream may: what it makes the server remember must be bounded."""


_NONE: Final[frozenset[str]] = frozenset()
_shared: "WeakValueDictionary[int, Names]" = WeakValueDictionary()


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Names:
    """A set of names. Equal sets are one object while it is alive: a thousand streams of a view hold one set, not a
    thousand."""

    values: frozenset[str] = _NONE

    @classmethod
    def of(cls, values: frozenset[str]) -> "Names":
        found = _shared.get(hash(values))
        if found is not None and found.values == values:
            return found
        names = _shared[hash(values)] = cls(values)
        return names

    def changed(self, add: Iterable[str] = (), drop: Iterable[str] = ()) -> "Names":
        """Return this set with some names more and some less."""
        # One new cluster makes every stream of a view subscribe the same name, and a fleet that connects subscribes all
        # of them in the same steps: each set is computed once for all.
        return _changed(self, frozenset(add), frozenset(drop))


@lru_cache(maxsize=64)
def _changed(names: Names, added: frozenset[str], dropped: frozenset[str]) -> Names:
    return Names.of((names.values | added) - dropped)


@dataclass(slots=True)
class Subscription:
    """What a client wants of one type: everything, some names, or both (on-demand names beside a wildcard)."""

    wildcard: bool = False
    names: Names = field(default_factory=lambda: Names.of(_NONE))
    explicit: bool = False
    """The client has named something once: from then on naming nothing means nothing (state of the world)."""

    def __bool__(self) -> bool:
        return self.wildcard or bool(self.names.values)

    def __contains__(self, name: object) -> bool:
        return self.wildcard or name in self.names.values
