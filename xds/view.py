"""What one class of proxies gets: resources by type and name, a change log, and the verdicts of those proxies."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from dragoman.codec import Encoded, Ref
from xds.fresh import FreshBatches
from xds.memory import Memory
from xds.push import Push, PushCache
from xds.quarantine import Blocked, Quarantine, Rejection, Trials
from xds.resource import Resource
from xds.step import Place, Step
from xds.subscription import Names
from xds.table import Table


class Follower(Protocol):
    """A stream that delivers a view."""

    def view_changed(self, view: "View", type_urls: frozenset[str]) -> None:
        """Something was appended to the logs of these types. Called once per change set, after it is complete."""

    def catch_up(self, view: "View") -> None:
        """Read the log to its end now: it is about to be compacted."""


class View:
    """The resources of one class of proxies.

    What a view *wants* is what was applied to it. What it *serves* is the same, but for versions that a proxy rejected
    and for resources that need a rejected one: there the last good version stays, the newest that any proxy of this
    view has ACKed, or nothing if there is none. A proxy that connects later gets the same, so a restart never meets
    rejected bytes again. New content lifts the quarantine by itself.
    """

    def __init__(self, name: str, *, secret: bool = False, on_memory: Callable[[Memory], None] | None = None) -> None:
        self.name = name
        self.secret = secret
        """Holds private keys: never dumped, never logged."""
        self._tables: dict[str, Table] = {}
        self._blocked: dict[Ref, Blocked] = {}
        self._absent: set[Ref] = set()
        # Removed, but a last good version refers to it (None: nothing of it was good, so that version is of no use);
        # and those of them that are served again for its sake.
        self._retired: dict[Ref, Resource | None] = {}
        self._restored: set[Ref] = set()
        self._trials = Trials()
        # How often it was in doubt what is good: a version went on trial, was rejected or blocked.
        self._doubts = 0
        self._quarantine = Quarantine()
        self._followers: dict[Follower, None] = {}
        # Types of which followers have not been told yet.
        self._changed: set[str] = set()
        self._pushes = PushCache()
        self.fresh = FreshBatches()
        """What clients that hold nothing were sent."""
        self._memory = Memory()
        self._filling = False
        self._on_memory = on_memory

    # -- content ----------------------------------------------------------------------------------------------------

    def apply(self, changes: Mapping[Ref, Encoded | None]) -> None:
        """Take over a set of changes: new content, or None for a resource that is gone. Followers are told once."""
        touched = False
        for ref, encoded in changes.items():
            wanted = None if encoded is None else Resource.of(encoded)
            if wanted is self.wanted(ref):
                continue
            touched = True
            good = self._last_good(ref)
            self._serve(ref, wanted)
            if wanted is None:
                self._retired[ref] = good
            else:
                self._retired.pop(ref, None)
                self._restored.discard(ref)
        if touched:
            self._settle()
            self._notify()

    def get(self, ref: Ref) -> Resource | None:
        """Return what is served under this type and name."""
        table = self._tables.get(ref[0])
        return None if table is None else table.served.get(ref[1])

    def wanted(self, ref: Ref) -> Resource | None:
        """Return what was last applied, served or not."""
        if ref in self._restored:
            return None
        blocked = self._blocked.get(ref)
        return self.get(ref) if blocked is None else blocked.wanted

    def withheld(self, ref: Ref) -> bool:
        """Whether the resource is wanted but nothing of it is good to serve."""
        return ref in self._absent

    def table(self, type_url: str) -> Mapping[str, Resource]:
        """Return what is served of a type, by name. Live: not to be kept."""
        table = self._tables.get(type_url)
        return {} if table is None else table.served

    def dump(self) -> Iterator[Resource]:
        """Yield what is served; nothing for a secret view."""
        if not self.secret:
            for table in self._tables.values():
                yield from table.served.values()

    def blocked(self) -> Mapping[Ref, Blocked]:
        """Return what is wanted but not served, and why."""
        return self._blocked

    # -- log --------------------------------------------------------------------------------------------------------

    def head(self, type_url: str) -> int:
        """Return the position after the newest entry of the type's log."""
        table = self._tables.get(type_url)
        return 0 if table is None else table.head

    def since(self, type_url: str, position: int) -> list[tuple[str, Resource | None]]:
        """Return the changes after `position`: names, each with what was served before."""
        table = self._tables.get(type_url)
        return [] if table is None else table.since(position)

    def step(self, type_url: str, place: Place) -> Step | None:
        """Return how to get from a place to the end of the type's log, if that is remembered."""
        table = self._tables.get(type_url)
        return None if table is None else table.steps.get(place)

    def remember(self, type_url: str, place: Place, step: Step) -> None:
        """Keep the step until the log grows."""
        self._table(type_url).steps[place] = step

    def follow(self, follower: Follower) -> None:
        self._followers[follower] = None

    def unfollow(self, follower: Follower) -> None:
        self._followers.pop(follower, None)

    @property
    def followers(self) -> int:
        """How many streams deliver this view."""
        return len(self._followers)

    def following(self) -> tuple[Follower, ...]:
        """The streams that deliver this view."""
        return tuple(self._followers)

    # -- delivery ---------------------------------------------------------------------------------------------------

    def push(self, type_url: str, resources: tuple[Resource, ...], removed: tuple[str, ...] = ()) -> Push:
        """Return the encoded incremental response; one object for all streams that need the same."""
        return self._pushes.get(type_url, resources, removed)

    def push_state(
        self,
        type_url: str,
        state: tuple[Resource, ...],
        resources: tuple[Resource, ...] = (),
        removed: tuple[str, ...] = (),
        version: str = "",
    ) -> Push:
        """Return the encoded state-of-the-world response, shared in the same way.

        `state` may hold resources of other views too, which its streams deliver beside this one.
        """
        return self._pushes.get_state(type_url, state, resources, removed, version)

    def holding(self, type_url: str, names: Names) -> int:
        """Return the sum of the marks of what is served of these names; costs what changed since it was last asked."""
        table = self._tables.get(type_url)
        return 0 if table is None else table.holding(names)

    def accept(self, push: Push) -> None:
        """Note that a proxy took all of this: they are good."""
        if push.accepted != self._doubts:
            push.accepted = self._doubts
            for resource in push.resources:
                self.vouch(resource)

    def vouch(self, resource: Resource) -> None:
        """Note that a proxy has this version in force: it is good, whoever rejected it before."""
        self._trials.accept(resource)
        if self._quarantine.lift(resource):
            wanted = self.wanted(resource.ref)
            if wanted is not None:
                self._serve(resource.ref, wanted)
                self._trials.accept(resource)
                self._settle()
                self._notify()

    def reject(self, resource: Resource, message: str, proxy: str) -> bool:
        """Quarantine a version that a proxy rejected; return False if another proxy has ACKed it.

        Content that works elsewhere is not bad in itself (an address may be taken on that one host), so it is only that
        proxy which must do without it.
        """
        if self._last_good(resource.ref) is resource:
            return False
        self._quarantine.add(Rejection(resource.type_url, resource.name, resource.version, message, proxy))
        self._doubts += 1
        wanted = self.wanted(resource.ref)
        if wanted is not None:
            self._serve(resource.ref, wanted)
            self._settle()
            self._notify()
        return True

    # -- memory -----------------------------------------------------------------------------------------------------

    def recall(self, memory: Memory) -> None:
        """Begin with what an earlier view of the same proxies remembered: before the first `apply`.

        What is applied then lifts what does not hold any more; call `filled` when that was everything.
        """
        self._memory = memory
        self._filling = bool(memory)
        for rejection in memory.rejections:
            self._quarantine.add(rejection)
            self._doubts += 1
        # As if all of it had just been removed: what comes back has its last good, what does not and is needed stays.
        self._retired.update((resource.ref, resource) for resource in memory.goods)

    def filled(self) -> None:
        """Note that everything has been applied once: of what was recalled, the rest is not needed."""
        if self._filling:
            self._filling = False
            self._restore()
            self._notify()

    def memory(self, *, unjudged: bool = False) -> Memory:
        """Return what is worth to be remembered; `on_memory` is told when it changes. Never anything secret.

        `unjudged` asks for the last good version also of what nobody has ACKed or rejected yet, if one is known: for a
        view that ends, as what is told all the time should not grow with every change.
        """
        if self.secret:
            return Memory()
        blocked = self._blocked.values()
        goods = {block.good for block in blocked if block.good is not None}
        if unjudged:
            goods.update(self._trials.goods())
        goods = {good for good in goods if self._usable(good)}
        needed = self._retired_for(goods) | self._restored
        goods.update(good for ref in needed if (good := self._retired[ref]) is not None)
        return Memory(
            tuple(block.reason for block in blocked if isinstance(block.reason, Rejection)),
            tuple(sorted(goods, key=lambda resource: resource.ref)),
        )

    def rejections(self) -> tuple[Rejection, ...]:
        """Return the versions in quarantine, oldest first."""
        return self._quarantine.all()

    # -- serving ----------------------------------------------------------------------------------------------------

    def _serve(self, ref: Ref, wanted: Resource | None) -> None:
        """Serve `wanted`, or the last good in its place; says nothing yet to what refers to it."""
        good = self._last_good(ref)
        blocked = self._blocked.pop(ref, None)
        reason = None if wanted is None or wanted is good else self._objection(wanted)
        if wanted is None:
            self._trials.forget(ref)
            served = None
        elif reason is not None:
            self._trials.forget(ref)
            self._blocked[ref] = Blocked(wanted, reason, good)
            self._doubts += 1
            served = good if good is not None and self._usable(good) else None
        else:
            served = wanted
            if wanted is good:
                self._trials.forget(ref)
            elif blocked is not None or wanted is not self.get(ref):
                self._trials.begin(good, wanted)
                self._doubts += 1
        if served is None and wanted is not None:
            self._absent.add(ref)
        elif ref in self._absent:
            self._absent.discard(ref)
            if served is None:
                # Who waits for it can be told that there is nothing to wait for.
                self._table(ref[0]).put(ref[1], None)
                self._changed.add(ref[0])
        self._put(ref, served)

    def _last_good(self, ref: Ref) -> Resource | None:
        blocked = self._blocked.get(ref)
        if blocked is not None:
            return blocked.good
        served = self.get(ref)
        return self._retired.get(ref) if served is None else self._trials.last_good(ref, served)

    def _objection(self, resource: Resource) -> Rejection | Ref | None:
        """Return why an unproven version cannot be served: its own rejection, or what it needs being withheld."""
        rejection = self._quarantine.find(resource)
        if rejection is not None or not self._absent:
            return rejection
        return min((ref for ref in resource.refs if ref in self._absent), default=None)

    def _settle(self) -> None:
        """Block what came to need withheld resources, serve what waited for restored ones, and so on.

        References have no cycles (listener, route, cluster, endpoints and secrets), so this ends. It looks at what is
        blocked or unproven only: a version that was ACKed once stays.
        """
        settled = not self._absent and not self._blocked
        while not settled:
            before = set(self._absent)
            for ref, blocked in list(self._blocked.items()):
                self._serve(ref, blocked.wanted)
            for resource in self._trials.newest() if self._absent else ():
                if not self._absent.isdisjoint(resource.refs):
                    self._serve(resource.ref, resource)
            settled = before == self._absent
        if self._retired:
            self._restore()

    def _restore(self) -> None:
        """Bring back what was removed together with a change that was then rejected: its last good needs it."""
        goods = [blocked.good for blocked in self._blocked.values() if blocked.good is not None]
        restored = self._retired_for(good for good in goods if self._usable(good))
        for ref in self._restored - restored:
            self._put(ref, None)
        for ref in restored - self._restored:
            self._put(ref, self._retired[ref])
        self._restored = restored
        if self._filling:
            return
        # What no version on trial, any of which may still be ACKed and be the last good, needs any more is let go.
        needed = self._retired_for([*goods, *self._trials.versions()])
        self._retired = {ref: resource for ref, resource in self._retired.items() if ref in needed}

    def _retired_for(self, users: Iterable[Resource]) -> set[Ref]:
        """Return the retired resources that these need, directly or through one another."""
        found: set[Ref] = set()
        pending = list(users)
        while pending:
            for ref in pending.pop().refs:
                if ref in self._retired and ref not in found:
                    found.add(ref)
                    if (retired := self._retired[ref]) is not None:
                        pending.append(retired)
        return found

    def _usable(self, good: Resource) -> bool:
        """Whether all that it needs can still be served; if not, what proxies have of it stays with them."""
        return not self._retired or all(self._retired[ref] is not None for ref in self._retired_for((good,)))

    def _table(self, type_url: str) -> Table:
        table = self._tables.get(type_url)
        if table is None:
            table = self._tables[type_url] = Table()
        return table

    def _put(self, ref: Ref, resource: Resource | None) -> None:
        type_url, name = ref
        table = self._table(type_url)
        old = table.served.get(name)
        if old is resource:
            return
        table.put(name, resource)
        if old is not None:
            self._pushes.superseded(old)
        self._changed.add(type_url)
        self.fresh.forget(type_url)

    def _notify(self) -> None:
        if self._on_memory is not None and not self._filling and (self._blocked or self._memory):
            memory = self.memory()
            if memory != self._memory:
                self._memory = memory
                self._on_memory(memory)
        changed, self._changed = frozenset(self._changed), set()
        for follower in list(self._followers):
            follower.view_changed(self, changed)
        for table in self._tables.values():
            if table.long:
                # A stream that is slow to write has not read the log: it takes the entries over (deduplicated, at most
                # one a name), so the log never grows with the slowest stream and nothing is lost.
                for follower in list(self._followers):
                    follower.catch_up(self)
                table.compact()
