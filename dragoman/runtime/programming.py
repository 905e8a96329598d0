"""Which proxies have what an object says: from its change to the ACK of the last proxy that uses it.

Theory of operation
===================

*Who uses an object* is not kept anywhere: the engine has recorded it. Walking the readers of the object's cell upwards
leads to the resources in views that were made from it; the proxies that get those views use it.

*What a change of an object has to bring about* is known when its transaction ends: of the resources made from the
object, before or after, those that the transaction changed. A proxy has the change when it has ACKed, of each, the
version made then or a later one: what changes afterwards (endpoints, all the time) takes nothing back. Removals of
listeners count too. Clusters and routes that go only linger unused for a while (`xds.order`), so nobody waits for them.

*Only objects on their way are remembered*: changed and not everywhere yet, or rejected. ACKs make those be looked at
again, some times a second at most; each look costs the proxies that still lack something. So what changes without an
Istio object, and what is everywhere already, costs nothing.

*Whose fault a rejection is* comes from `blame`: an object that merely shares a resource with the culprit is held up,
and not rejected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import structlog

from crds.meta import ObjectKey
from crds.registry import ISTIO_KINDS
from dragoman.codec import Ref
from dragoman.engine import Call, Graph, Mount
from dragoman.mesh.inputs import OBJECTS
from dragoman.provenance import origins
from dragoman.runtime.mounted_views import Mounted, MountedViews
from dragoman.runtime.observer import discovery_service
from dragoman.runtime.pending import Pending
from dragoman.runtime.programmed import NAMED, Programmed, Rejection
from dragoman.runtime.troubles import Describe, Troubles
from dragoman.turns import TURN
from xds import View
from xds.delivery import NOTHING

log = structlog.get_logger(__name__)

_PAUSE: Final = 0.05
"""From news to the look at them, in seconds: what proxies wait for is written first, and their ACKs come together."""

_SHARE: Final = 10
"""A look is followed by a further pause of so many times what it took."""

_LONGEST_PAUSE: Final = 2.0

_STEP: Final = 500
"""Resources between two turns of the streams: about a millisecond."""

Uses = dict[Mounted, dict[Call[Any], Ref]]
"""Resources that were made from an object, with the calls that make them."""


class Programming:
    """Follows objects to the proxies.

    `objects` are those in force. `describe` says whose doing a rejected resource is. Callbacks given to `subscribe`
    are told which objects have come further, or were rejected.
    """

    def __init__(
        self, graph: Graph, mounted: MountedViews, objects: Mapping[ObjectKey, Any], describe: Describe
    ) -> None:
        self._graph = graph
        self._mounted = mounted
        self._objects = objects
        self._changing: frozenset[ObjectKey] = frozenset()
        self._before: dict[ObjectKey, Uses] = {}
        self._pending: dict[ObjectKey, Pending] = {}
        self._awaiting: dict[View, dict[Ref, list[set[str]]]] = {}
        self._troubles = Troubles(mounted, describe)
        self._doubtful = False
        self._look = asyncio.Event()
        self._subscribers: list[Callable[[frozenset[ObjectKey]], None]] = []

    def subscribe(self, callback: Callable[[frozenset[ObjectKey]], None]) -> None:
        """Call back with the objects whose `of` has changed; not for a mere coming and going of proxies."""
        self._subscribers.append(callback)

    # -- asked ------------------------------------------------------------------------------------------------------

    def of(self, key: ObjectKey) -> Programmed:
        """How far an object has come. Costs what was made from it, and the proxies that have it."""
        if key in self._changing:
            return Programmed(translating=True)
        pending = self._pending.get(key)
        if pending is not None:
            return self._evaluate(key, pending)
        uses = self.uses(key)
        pending = Pending({mounted.view for mounted in uses})
        for mounted, calls in uses.items():
            for ref in calls.values():
                pending.expect(mounted.view, ref, None)
        found = self._evaluate(key, pending)
        if not found.complete:
            self._wait_for(key, pending)
        return found

    def uses(self, key: ObjectKey) -> Uses:
        """The resources of views in use that were made from an object."""
        found: Uses = {}
        for _ in self._collect(key, found):
            pass
        return found

    @property
    def pending(self) -> int:
        """Objects that are on their way, or were rejected."""
        return len(self._pending)

    # -- told -------------------------------------------------------------------------------------------------------

    def announce(self, keys: Iterable[ObjectKey]) -> None:
        """Objects are about to change: what is known of them is of no use before `publish`."""
        self._changing = frozenset(key for key in keys if key.kind in ISTIO_KINDS)

    def begin(self, keys: Iterable[ObjectKey]) -> Iterator[None]:
        """Note what was made from objects that a transaction is about to change; yields now and then."""
        yield from _harmless(self._begin(keys))

    def publish(self, changed: tuple[Mount, ...]) -> Iterator[None]:
        """Note what a transaction changed, after its views were told; yields now and then."""
        yield from _harmless(self._publish(changed))

    def _begin(self, keys: Iterable[ObjectKey]) -> Iterator[None]:
        self._before = {key: {} for key in keys if key.kind in ISTIO_KINDS}
        if len(self._mounted):
            for key, uses in self._before.items():
                yield from self._collect(key, uses)

    def _publish(self, changed: tuple[Mount, ...]) -> Iterator[None]:
        before, self._before = self._before, {}
        changed_views = [mounted for mount in changed if (mounted := self._mounted.by_mount(mount)) is not None]
        if self._awaiting:
            for mounted in changed_views:
                self._follow(mounted)
        for key, uses in before.items():
            yield from self._changed(key, uses, {mounted.mount for mounted in changed_views})
        if before:
            self._changing = frozenset()
            self._look.set()
            self._tell(frozenset(before))
        if any(mounted.view.blocked() for mounted in changed_views):
            self.rejected()

    def failed(self, mounted: Mounted, call: Call[Any]) -> None:
        """A resource cannot be made."""
        for key in origins(self._graph, call):
            if key in self._objects and key.kind in ISTIO_KINDS:
                pending = self._pending.get(key) or Pending({use.view for use in self.uses(key)})
                pending.failing[call] = mounted.publication
                self._wait_for(key, pending)

    def answered(self) -> None:
        """A proxy has taken something, or went."""
        if self._pending:
            self._look.set()

    def rejected(self) -> None:
        """A proxy has rejected something."""
        self._doubtful = True
        self._look.set()

    async def run(self) -> None:
        """Look what has arrived, until cancelled."""
        while True:
            await self._look.wait()
            await asyncio.sleep(_PAUSE)
            self._look.clear()
            spent = 0.0
            try:
                spent = await self._look_again()
            except Exception:
                log.exception("what is on its way was not looked at")
            await asyncio.sleep(min(_SHARE * spent, _LONGEST_PAUSE))

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _look_again(self) -> float:
        """Look at what is on its way, in slices; how many seconds that took."""
        spent = 0.0
        began = time.perf_counter()
        if self._doubtful or self._troubles:
            self._doubtful = False
            self._find_troubles()
        self._let_go_of_views()
        came = set()
        for key, pending in list(self._pending.items()):
            if key in self._changing:
                continue
            found = self._evaluate(key, pending)
            if found != pending.said:
                pending.said = found
                came.add(key)
            if found.complete:
                self._forget(key)
            if time.perf_counter() - began > TURN:
                spent += time.perf_counter() - began
                await asyncio.sleep(0)
                began = time.perf_counter()
        self._tell(frozenset(came))
        return spent + time.perf_counter() - began

    def _let_go_of_views(self) -> None:
        """What no proxy has any more is not waited for, nor kept."""
        live = {mounted.view for mounted in self._mounted}
        for pending in self._pending.values():
            for view in pending.views - live:
                pending.let_go(view)
        for view in self._awaiting.keys() - live:
            del self._awaiting[view]

    def _tell(self, keys: frozenset[ObjectKey]) -> None:
        for callback in self._subscribers if keys else ():
            callback(keys)

    def _collect(self, key: ObjectKey, uses: Uses) -> Iterator[None]:
        for found in self._graph.dependents(OBJECTS, key):
            if found is None:
                yield
                continue
            mount, call = found
            mounted = self._mounted.by_mount(mount)
            ref = None if mounted is None else mounted.publication.owned(call)
            if mounted is not None and ref is not None:
                uses.setdefault(mounted, {})[call] = ref

    def _follow(self, mounted: Mounted) -> None:
        """What replaces a version that was awaited brings the same change."""
        awaiting = self._awaiting.get(mounted.view)
        for call in mounted.mount.changes if awaiting else ():
            ref = mounted.publication.owned(call)
            if ref is not None and awaiting is not None and ref in awaiting:
                wanted = mounted.view.wanted(ref)
                for versions in awaiting[ref]:
                    versions.add(NOTHING if wanted is None else wanted.version)

    def _changed(self, key: ObjectKey, before: Uses, changed: set[Mount]) -> Iterator[None]:
        """An object changed: what of it has to arrive."""
        earlier = self._pending.get(key)
        self._forget(key)
        if key not in self._objects:
            return
        now: Uses = {}
        yield from self._collect(key, now)
        pending = Pending({mounted.view for mounted in now})
        for uses in (before, now):
            for mounted, calls in uses.items():
                changes = mounted.mount.changes if mounted.mount in changed else {}
                for index, (call, ref) in enumerate(calls.items()):
                    if not index % _STEP:
                        yield
                    if call in mounted.publication.failures:
                        pending.failing[call] = mounted.publication
                    if call in changes:
                        pending.expect_current(mounted.view, ref)
                    elif earlier is not None:
                        # What an earlier change of it has not brought everywhere yet.
                        is_target, versions = earlier.versions(mounted.view, ref)
                        if is_target:
                            pending.expect(mounted.view, ref, versions)
        if pending.targets or pending.failing:
            self._wait_for(key, pending)

    def _wait_for(self, key: ObjectKey, pending: Pending) -> None:
        self._forget(key)
        self._pending[key] = pending
        pending.refer()
        for view, types in pending.targets.items():
            awaiting = self._awaiting.setdefault(view, {})
            for type_url, names in types.items():
                for name, versions in names.items():
                    if versions is not None:
                        awaiting.setdefault((type_url, name), []).append(versions)

    def _forget(self, key: ObjectKey) -> None:
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        for view, types in pending.targets.items():
            awaiting = self._awaiting.get(view, {})
            for type_url, names in types.items():
                for name, versions in names.items():
                    held = awaiting.get((type_url, name))
                    if held is not None:
                        held[:] = [other for other in held if other is not versions]
                        if not held:
                            del awaiting[type_url, name]
            if not awaiting:
                self._awaiting.pop(view, None)

    def _evaluate(self, key: ObjectKey, pending: Pending) -> Programmed:
        using, lacking = pending.users()
        failures = pending.failures()
        if failures:
            # What was never made nobody can have.
            lacking = using
        names = sorted({client.proxy for client in lacking})
        rejections = tuple(self._rejections(key, pending))
        return Programmed(len(using), len(using) - len(lacking), tuple(names[:NAMED]), rejections, failures)

    # -- rejections -------------------------------------------------------------------------------------------------

    def _rejections(self, key: ObjectKey, pending: Pending) -> Iterator[Rejection]:
        said = set()
        for view in pending.views:
            for ref, trouble in self._troubles.of(view).items():
                is_target, versions = pending.versions(view, ref)
                if is_target and (versions is None or trouble.version in versions):
                    blamed = key in trouble.blamed
                    rejection = Rejection(discovery_service(ref[0]), ref[1], trouble.message, trouble.proxies, blamed)
                    if rejection not in said:
                        said.add(rejection)
                        yield rejection

    def _find_troubles(self) -> None:
        """Objects that are to blame for a rejection are on their way again."""
        for view, ref, trouble in tuple(self._troubles.look()):
            for key in trouble.blamed:
                if key.kind in ISTIO_KINDS and key in self._objects:
                    pending = self._pending.get(key)
                    if pending is None:
                        pending = Pending({use.view for use in self.uses(key)})
                    if not pending.versions(view, ref)[0]:
                        pending.expect(view, ref, {trouble.version})
                        self._wait_for(key, pending)


def _harmless(steps: Iterator[None]) -> Iterator[None]:
    """A fault in here is not to keep any proxy from its configuration."""
    try:
        yield from steps
    except Exception:
        log.exception("what became of changed objects is not followed")
