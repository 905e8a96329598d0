"""From the leaves of a mounted tree to the resources of an xDS view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.codec import Encoded, Ref
from dragoman.engine import ABSENT, GONE, Call, Failure, Query


class Publication:
    """Which call owns which resource of one view, and what is kept while its maker fails.

    A failing leaf keeps the bytes it last had. A leaf that is new and fails has none: it may stand in for one that went
    in the same change (a cluster under other rules), so what the same query made before stays until the failure ends.
    """

    __slots__ = ("_failing", "_held", "_owned", "_owner")

    def __init__(self) -> None:
        self._owner: dict[Ref, Call[Any]] = {}
        self._owned: dict[Call[Any], Ref] = {}
        self._failing: dict[Call[Any], Failure] = {}
        self._held: dict[Ref, Query[..., Any]] = {}

    @property
    def failures(self) -> Mapping[Call[Any], Failure]:
        """Leaves that fail now."""
        return self._failing

    def owner(self, ref: Ref) -> Call[Any] | None:
        """The call that makes a resource."""
        return self._owner.get(ref)

    def owned(self, call: Call[Any]) -> Ref | None:
        """The resource that a call makes."""
        return self._owned.get(call)

    def resources(self, changes: Mapping[Call[Any], Any]) -> dict[Ref, Encoded | None]:
        """The changed resources that a transaction's changed leaves amount to."""
        found: dict[Ref, Encoded | None] = {}
        for call, value in changes.items():
            if value is GONE or value is None:
                self._failing.pop(call, None)
                ref = self._owned.pop(call, None)
                if ref is not None and self._owner.get(ref) == call:
                    self._held[ref] = call.query
        for call, value in changes.items():
            if isinstance(value, Failure):
                self._failing[call] = value
                if call not in self._owned and isinstance(value.last_good, Encoded):
                    self._own(call, value.last_good, found)
            elif isinstance(value, Encoded):
                self._failing.pop(call, None)
                self._own(call, value, found)
        unborn = {call.query for call, failure in self._failing.items() if failure.last_good is ABSENT}
        for ref in [ref for ref, query in self._held.items() if query not in unborn]:
            del self._held[ref]
            del self._owner[ref]
            found[ref] = None
        return found

    def _own(self, call: Call[Any], value: Encoded, found: dict[Ref, Encoded | None]) -> None:
        ref = (value.type_url, value.name)
        before = self._owned.get(call)
        if before is not None and before != ref and self._owner.get(before) == call:
            self._held[before] = call.query
        self._owned[call] = ref
        self._owner[ref] = call
        self._held.pop(ref, None)
        found[ref] = value
