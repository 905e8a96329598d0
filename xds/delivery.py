"""What one client holds of one type, compared with what its views serve: only the differences are stored."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dragoman.codec import Ref
from xds.order import KEPT
from xds.push import Push
from xds.resource import Resource
from xds.subscription import Subscription
from xds.view import View

NOTHING: Final = ""


@dataclass(frozen=True, slots=True)
class Unsure:
    """The client holds one of these versions: told so by itself on reconnect, or left open by a NACK."""

    versions: frozenset[str]
    """`NOTHING` among them if it may hold none."""
    refs: frozenset[Ref] | None
    """What any of them refers to; None if that is not known."""
    acked: Resource | None = None
    """The last that it ACKed, if it was on this stream."""


Held = Resource | Unsure | None
"""What a client holds under a name; None for nothing."""


def versions_of(held: Held) -> frozenset[str]:
    """Return the versions that the client may hold."""
    match held:
        case None:
            return frozenset()
        case Resource():
            return frozenset((held.version,))
        case Unsure():
            return held.versions


def is_version(held: Held, version: str) -> bool:
    """Whether the client holds this version, for sure."""
    if isinstance(held, Unsure):
        return held.versions == {version}
    return held is not None and held.version == version


def without(held: Held, version: str) -> Held:
    """Return what a client holds once it is known that it does not hold this version."""
    if not isinstance(held, Unsure):
        return held
    versions = held.versions - {version}
    return Unsure(versions, held.refs, held.acked) if versions - {NOTHING} else None


def at_hand(held: Held) -> Resource | None:
    """Return what to say in the state of the world of a name that is not to change: leaving it out removes it."""
    return held.acked if isinstance(held, Unsure) else held


@dataclass(slots=True)
class Removal:
    """A resource that is gone from the views and not yet from the client."""

    since: float
    """When the removal became due."""
    free_since: float | None = None
    """Since when nothing that the client holds refers to it."""
    overdue: bool = False
    """The wait for its referrers was given up."""


@dataclass(slots=True)
class Counters:
    """What happened to one type on one stream."""

    sent: int = 0
    acked: int = 0
    rejected: int = 0
    overdue: int = 0
    """Steps that were taken although what they waited for had not been ACKed in time."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One type on one stream.

    A name that is not in `behind` is in sync: the client has ACKed exactly what the views serve. So a stream in sync
    stores its position in the views' logs and a subscription shared with its equals, whatever the size of the view.
    """

    type_url: str
    subscription: Subscription = field(default_factory=Subscription)
    behind: dict[str, Held] = field(default_factory=dict)
    """Names that are, or may be, out of sync, with what the client holds."""
    resend: set[str] = field(default_factory=set)
    """Names to be sent even if the client holds the current version."""
    suspects: list[tuple[str, ...]] = field(default_factory=list)
    """Groups of names to be sent on their own, to find who caused a NACK that named nobody."""
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name → version and error: rejected by this client though good elsewhere; not sent to it again."""
    waits: dict[str, float] = field(default_factory=dict)
    """Names held back until what they refer to is ACKed, and since when."""
    lacking: set[str] = field(default_factory=set)
    """Those of them that need a secret that nobody serves: there is nothing better that the client could have."""
    waits_for: Ref | None = None
    """One of the resources waited for, to be shown."""
    removals: dict[str, Removal] = field(default_factory=dict)
    kept: dict[str, Held] = field(default_factory=dict)
    """Removed names that the client still has, because it ignores that (`xds.order.KEPT`)."""
    unknown_since: float | None = None
    """Since when it is not known which resources the client has: what a response leaves out could be in use."""
    answer_due: bool = False
    """A request must be answered even if there is nothing to send."""
    stale: bool = False
    """State of the world: the client let go of names of which its version still tells."""
    inflight: Push | None = None
    inflight_view: View | None = None
    inflight_head: int = -1
    """Where the log of `inflight_view` ended when the response was made."""
    probe: tuple[str, ...] = ()
    """The group of suspects that is in flight."""
    sent_at: float | None = None
    acked_at: float | None = None
    sent_nonce: str = ""
    acked_nonce: str = ""
    last_error: str = ""
    counters: Counters = field(default_factory=Counters)

    def fall_behind(self, name: str, held: Held) -> None:
        """What is served under a name changed; `held` is what the client has of it if it was in sync."""
        if name in self.behind:
            return
        if name in self.kept:
            held = self.kept.pop(name)
            self.resend.add(name)
        self.behind[name] = held

    def removed(self, name: str) -> None:
        """The client was told that a name is gone, or cannot be told."""
        held = self.behind.get(name)
        self.forget(name)
        if held is not None and self.type_url in KEPT and name in self.subscription:
            self.kept[name] = held

    @property
    def pending(self) -> bool:
        """Whether something may have to be sent, now or later."""
        return bool(self.behind or self.answer_due or self.stale or self.suspects)

    @property
    def complete(self) -> bool:
        """Whether the client has ACKed exactly what its views serve, but for what would need a secret that is
        missing."""
        return len(self.behind) == len(self.lacking) and self.inflight is None

    @property
    def at_rest(self) -> bool:
        """Whether nothing is pending, nor on its way, nor to be done otherwise than for a client that begins."""
        return not (self.inflight or self.pending or self.refused or self.kept)

    def forget(self, name: str) -> None:
        """The client no longer wants this name."""
        for names in (self.behind, self.removals, self.waits, self.refused, self.kept):
            names.pop(name, None)
        self.resend.discard(name)
        self.lacking.discard(name)

    def in_sync(self, name: str) -> None:
        """The client holds what is served under this name."""
        for names in (self.behind, self.removals, self.waits):
            names.pop(name, None)
        self.lacking.discard(name)

    def all_in_sync(self, names: tuple[str, ...]) -> None:
        """The same for many names at once."""
        if self.removals or self.waits:
            for name in names:
                self.in_sync(name)
        else:
            for name in names:
                self.behind.pop(name, None)

    def shrink(self, landed: int) -> None:
        """Give back the room that `landed` names took: emptied dicts and sets keep it, and iterating costs as much."""
        if landed > len(self.behind):
            self.behind = dict(self.behind)
        if not self.resend:
            self.resend = set()

    def held_refs(self) -> Iterator[tuple[str, frozenset[Ref] | None]]:
        """Yield what the client holds, or is about to hold, under names out of sync: name and references."""
        for name, held in self.behind.items():
            if held is not None:
                yield name, held.refs
        if self.inflight is not None:
            for resource in self.inflight.resources:
                yield resource.name, resource.refs
