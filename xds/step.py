"""What one client that had everything is sent when one log has grown: the same for all that stood where it stood.

A change concerns all streams of a view, and nearly all of them are in sync. What is due to the first of them is
remembered with the log until that grows again: looking at the memory of each stream costs more than the look itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from xds.push import Push
from xds.subscription import Names

if TYPE_CHECKING:
    from xds.delivery import Held


class Place(NamedTuple):
    """Where a client stands that lacks nothing but what came at the end of a log."""

    position: int
    """In the log."""
    wildcard: bool
    names: Names
    """What the client subscribed to."""
    limit: int
    """Bytes that a response may take."""


@dataclass(frozen=True, slots=True)
class Step:
    """From a place to the end of the log, in one response."""

    behind: "Mapping[str, Held]"
    """Names that changed, each with what the client holds."""
    push: Push
    """All of them as they are served."""
    head: int
    """The end of the log."""
