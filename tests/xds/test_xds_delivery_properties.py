"""Any order of changes, ACKs, NACKs, reconnects and subscriptions: what must hold all the same."""

import json
import logging
import random
from collections import deque

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from model_envoy import ModelEnvoy, SotwModelEnvoy, content, names_of_state, versions_in

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, Ref
from xds import DeltaRequest, DeltaStream, Memory, Patience, Response, SotwStream, Stream, View
from xds.order import WHOLE
from xds.push import states

NAMES = st.integers(0, 3)
BAD = st.sampled_from(["", "", "", "", "named", "unnamed", "picky"])
CLIENTS = st.integers(0, 1)


class Wire:
    """A model Envoy, its stream, and what is on the way to it. Requests on their way are in the model's outbox."""

    def __init__(self, views: tuple[View, ...], linger: float, wait: float, *, sotw: bool, picky: bool) -> None:
        self.kind = SotwModelEnvoy if sotw else ModelEnvoy
        self.picky, self.lenient = picky, wait < 1e8
        self.envoy = self._started()
        self.views = views
        self.patience = Patience(linger={CLUSTER: linger, ROUTE: linger}, wait=wait)
        self.inbox: deque[Response] = deque()
        self.carried: dict[tuple[str, str], set[str]] = {}
        self.taken: set[str] = set()
        """Versions that this Envoy ACKed."""
        """Versions in each response, by type and nonce."""
        self.stream = self._open()

    def _started(self) -> ModelEnvoy:
        return self.kind(picky=self.picky, lenient=self.lenient)

    def restart(self) -> None:
        """Envoy itself: it knows nothing any more."""
        self.stream.close()
        self.inbox.clear()
        self.taken.clear()
        self.envoy = self._started()
        self.stream = self._open()

    def _open(self) -> Stream:
        self.envoy.connect()
        kind = SotwStream if isinstance(self.envoy, SotwModelEnvoy) else DeltaStream
        return kind(self.views, patience=self.patience, chunk=400)

    def reconnect(self) -> None:
        self.stream.close()
        self.inbox.clear()
        self.stream = self._open()


class Delivery(RuleBasedStateMachine):
    """Two clients of the same views, by the same protocol or not.

    A mesh of services (cluster and endpoints), routes and listeners.
    """

    @initialize(
        linger=st.sampled_from([0.0, 10.0]),
        populated=st.booleans(),
        sotw=st.sampled_from([(False, False), (False, True), (True, False), (True, True)]),
        wait=st.sampled_from([1e9, 1e9, 1e9, 15.0]),
    )
    def start(self, linger: float, populated: bool, sotw: tuple[bool, bool], wait: float) -> None:
        self.now = 0.0
        self.revision = 0
        self.remembered: dict[str, Memory] = {}
        self.main, self.extra, self.twin = self._view("main"), self._view("extra"), self._view("twin")
        self.acked: set[str] = set()
        self.clusters: dict[str, Encoded] = {}
        self.routes: dict[str, tuple[Encoded, frozenset[str]]] = {}
        self.listeners: dict[str, tuple[Encoded, str]] = {}
        self.payloads: dict[str, bytes] = {}
        self.made: dict[Ref, dict[str, Encoded]] = {}
        self.wires = [
            Wire((self.main,), linger, wait, sotw=kind, picky=picky)
            for kind, picky in zip(sotw, (False, True), strict=True)
        ]
        if populated:
            for number in range(2):
                self.change_cluster(number, "", False, True)
                self.change_routes(number, [number], "", False, set())
                self.change_listener(number, number, "", False)
            self.quiet()

    def _view(self, name: str) -> View:
        return View(name, on_memory=lambda memory: self.remembered.update({name: memory}))

    # -- the world changes ------------------------------------------------------------------------------------------

    def _new(self, type_url: str, name: str, refs: tuple[Ref, ...], bad: str = "", atomic: bool = False) -> Encoded:
        self.revision += 1
        return self._made(type_url, name, self.revision, refs, bad, atomic=atomic)

    def _made(
        self, type_url: str, name: str, revision: int, refs: tuple[Ref, ...], bad: str, *, atomic: bool
    ) -> Encoded:
        encoded = content(type_url, name, revision, refs, bad=bad, atomic=atomic)
        self.payloads[encoded.version] = encoded.payload
        self.made.setdefault((type_url, name), {})[encoded.version] = encoded
        return encoded

    def _apply(self, changed: dict[Ref, Encoded | None]) -> None:
        """To the view of one class of proxies, and to that of another to whom half of it looks otherwise."""
        self.main.apply(changed)
        self.twin.apply({ref: encoded and self._otherwise(encoded) for ref, encoded in changed.items()})

    def _otherwise(self, encoded: Encoded) -> Encoded:
        payload = json.loads(encoded.payload)
        if payload["revision"] % 2:
            return encoded
        return self._made(
            encoded.type_url,
            encoded.name,
            -payload["revision"],
            tuple(encoded.refs),
            payload["bad"],
            atomic=payload["atomic"],
        )

    @rule(name=NAMES, bad=BAD, atomic=st.booleans(), endpoints=st.booleans())
    def change_cluster(self, name: int, bad: str, atomic: bool, endpoints: bool) -> None:
        key = f"c{name}"
        cluster = self._new(CLUSTER, key, ((ENDPOINT, key),), bad, atomic)
        changed: dict[Ref, Encoded | None] = {(CLUSTER, key): cluster}
        if endpoints or key not in self.clusters:
            changed[ENDPOINT, key] = self._new(ENDPOINT, key, ())
        self.clusters[key] = cluster
        self._apply(changed)

    @rule(name=NAMES, gone=st.booleans())
    def change_endpoints(self, name: int, gone: bool) -> None:
        key = f"c{name}"
        if key in self.clusters:
            self._apply({(ENDPOINT, key): None if gone else self._new(ENDPOINT, key, ())})

    @rule(name=NAMES, routes=st.lists(NAMES, max_size=2), bad=BAD, atomic=st.booleans(), drop=st.sets(NAMES))
    def change_routes(self, name: int, routes: list[int], bad: str, atomic: bool, drop: set[int]) -> None:
        """A route moves to other clusters, and clusters that nothing names any more go in the same change."""
        key = f"r{name % 2}"
        targets = frozenset(f"c{target}" for target in routes if f"c{target}" in self.clusters)
        route = self._new(ROUTE, key, tuple((CLUSTER, target) for target in targets), bad, atomic)
        changed: dict[Ref, Encoded | None] = {(ROUTE, key): route}
        self.routes[key] = (route, targets)
        changed |= self._drop_clusters(drop)
        self._apply(changed)

    def _drop_clusters(self, drop: set[int]) -> dict[Ref, Encoded | None]:
        used = {target for _, targets in self.routes.values() for target in targets}
        changed: dict[Ref, Encoded | None] = {}
        for key in (f"c{name}" for name in drop):
            if key in self.clusters and key not in used:
                del self.clusters[key]
                changed[CLUSTER, key] = changed[ENDPOINT, key] = None
        return changed

    @rule(name=NAMES, route=NAMES, bad=BAD, atomic=st.booleans())
    def change_listener(self, name: int, route: int, bad: str, atomic: bool) -> None:
        key, target = f"l{name % 2}", f"r{route % 2}"
        if target in self.routes:
            listener = self._new(LISTENER, key, ((ROUTE, target),), bad, atomic)
            self.listeners[key] = (listener, target)
            self._apply({(LISTENER, key): listener})

    @rule(name=NAMES)
    def remove_listener(self, name: int) -> None:
        key = f"l{name % 2}"
        if self.listeners.pop(key, None):
            self._apply({(LISTENER, key): None})

    @rule(name=NAMES, drop=st.sets(NAMES))
    def remove_route(self, name: int, drop: set[int]) -> None:
        """With the listeners that use it, and the clusters that only it used."""
        key = f"r{name % 2}"
        if key not in self.routes:
            return
        del self.routes[key]
        changed: dict[Ref, Encoded | None] = {(ROUTE, key): None}
        for listener, (_, target) in list(self.listeners.items()):
            if target == key:
                del self.listeners[listener]
                changed[LISTENER, listener] = None
        self._apply(changed | self._drop_clusters(drop))

    @rule(name=NAMES, to=NAMES, bad=BAD, listener=st.booleans())
    def shift(self, name: int, to: int, bad: str, listener: bool) -> None:
        """One change set: a cluster comes, a route moves to it, what nothing names any more goes, a listener too."""
        key, route = f"c{to}", f"r{name % 2}"
        changed: dict[Ref, Encoded | None] = {
            (CLUSTER, key): self._new(CLUSTER, key, ((ENDPOINT, key),)),
            (ENDPOINT, key): self._new(ENDPOINT, key, ()),
            (ROUTE, route): self._new(ROUTE, route, ((CLUSTER, key),), bad),
        }
        self.clusters[key] = changed[CLUSTER, key]
        self.routes[route] = (changed[ROUTE, route], frozenset((key,)))
        if listener:
            moved = f"l{to % 2}"
            changed[LISTENER, moved] = self._new(LISTENER, moved, ((ROUTE, route),))
            self.listeners[moved] = (changed[LISTENER, moved], route)
            unused = set(self.routes) - {used for _, used in self.listeners.values()}
            for gone in unused:
                del self.routes[gone]
                changed[ROUTE, gone] = None
        self._apply(changed | self._drop_clusters({0, 1, 2, 3}))

    @rule(name=NAMES)
    def change_extra(self, name: int) -> None:
        key = f"x{name}"
        refs = ((ENDPOINT, key),)
        self.extra.apply({(CLUSTER, key): self._new(CLUSTER, key, refs), (ENDPOINT, key): self._new(ENDPOINT, key, ())})

    @rule(client=CLIENTS, both=st.booleans(), other=st.booleans())
    def change_views(self, client: int, both: bool, other: bool) -> None:
        wire = self.wires[client]
        first = self.twin if other else self.main
        wire.views = (first, self.extra) if both else (first,)
        wire.stream.set_views(wire.views)

    # -- the network ------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS)
    def pump(self, client: int) -> None:
        wire = self.wires[client]
        before = {(r.type_url, r.name, r.version) for view in wire.views for r in view.rejections()}
        while (response := wire.stream.next_response(self.now)) is not None:
            assert wire.lenient or not response.overdue
            self._never_again(wire, response, before)
            self._keeps_what_is_served(wire, response)
            # Requests to what is withheld fail whatever is done; those by the same routes to others work.
            wire.envoy.unavailable |= {name for view in wire.views for name in self._withheld_clusters(view)}
            wire.carried[response.type_url, response.nonce] = versions_in(wire.envoy.message(response))
            wire.inbox.append(response)

    def _never_again(self, wire: Wire, response: Response, rejected: set[tuple[str, str, str]]) -> None:
        for type_url, name, version in rejected:
            held = wire.envoy.held[type_url].get(name)
            if held is not None and held.version == version:
                # The state of the world says what this client took, though another rejected it.
                continue
            if isinstance(wire.envoy, SotwModelEnvoy) and version in wire.taken:
                # And it says what the client ACKed last where a NACK leaves open whether the next was taken.
                continue
            sent = type_url == response.type_url and self.payloads[version] in response.data
            assert not sent, f"{name} was rejected in version {version} and sent again"

    def _keeps_what_is_served(self, wire: Wire, response: Response) -> None:
        """In the state of the world leaving out is removing: what waits its turn is said as it was."""
        envoy, kind = wire.envoy, response.type_url
        if isinstance(envoy, SotwModelEnvoy) and kind in envoy.taken and not wire.inbox and not wire.lenient:
            served = {name for view in wire.views for name in view.table(kind)}
            dropped = (served & envoy.taken[kind]) - names_of_state(envoy.message(response))
            assert not dropped, f"{dropped} would be removed though served"

    @rule(client=CLIENTS)
    def deliver_response(self, client: int) -> None:
        wire = self.wires[client]
        if wire.inbox:
            wire.envoy.receive(wire.inbox.popleft())

    @rule(client=CLIENTS)
    def deliver_request(self, client: int) -> None:
        wire = self.wires[client]
        if wire.envoy.outbox:
            self._request(wire)

    def _request(self, wire: Wire) -> None:
        request = wire.envoy.outbox.popleft()
        if request.error is None:
            wire.taken |= wire.carried.get((request.type_url, request.nonce), set())
            self.acked |= wire.taken
        if isinstance(request, DeltaRequest):
            self.acked |= set(request.initial_versions.values())
        elif request.version and not request.nonce:
            self.acked |= {held.version for held in wire.envoy.held[request.type_url].values()}
        wire.stream.receive(request, self.now)

    @rule(client=CLIENTS)
    def round_trip(self, client: int) -> None:
        for _ in range(3):
            self._exchange(self.wires[client], client)

    @rule(client=CLIENTS, restarted=st.booleans())
    def reconnect(self, client: int, restarted: bool) -> None:
        wire = self.wires[client]
        wire.restart() if restarted else wire.reconnect()
        # Envoy asks for all types at once; that they may come apart is what lingering is for.
        while wire.envoy.outbox:
            self._request(wire)

    @rule(killed=st.booleans())
    def restart_control_plane(self, killed: bool) -> None:
        """All that survives is what the views are worth to be remembered; the clients come with what they have.

        One that is killed has not said what was good before what nobody had judged yet.
        """
        states.clear()
        fresh = {}
        for view in (self.main, self.twin, self.extra):
            memory = self.remembered.get(view.name, Memory()) if killed else view.memory(unjudged=True)
            again = fresh[view] = self._view(view.name)
            again.recall(memory)
            wanted = {ref: view.wanted(ref) for ref in self.made}
            again.apply({ref: self.made[ref][found.version] for ref, found in wanted.items() if found})
            again.filled()
        self.main, self.twin, self.extra = fresh[self.main], fresh[self.twin], fresh[self.extra]
        for wire in self.wires:
            # In the state of the world a cluster may go before the route that moved from it to a new one.
            wire.lenient = wire.envoy.lenient = wire.lenient or isinstance(wire.envoy, SotwModelEnvoy)
            wire.views = tuple(fresh[view] for view in wire.views)
            wire.reconnect()
            while wire.envoy.outbox:
                self._request(wire)

    @rule(client=CLIENTS, name=NAMES, wanted=st.booleans())
    def demand(self, client: int, name: int, wanted: bool) -> None:
        """A cluster by name beside the wildcard, which exists or not."""
        envoy = self.wires[client].envoy
        envoy.demand(f"c{name}") if wanted else envoy.renounce(f"c{name}")

    @rule(seconds=st.sampled_from([0.1, 5.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def _exchange(self, wire: Wire, client: int) -> bool:
        moved = False
        while wire.envoy.outbox:
            self._request(wire)
            moved = True
        self.pump(client)
        while wire.inbox:
            wire.envoy.receive(wire.inbox.popleft())
            moved = True
        return moved

    # -- what must hold ---------------------------------------------------------------------------------------------

    @rule()
    def quiet(self) -> None:
        """Once nothing changes any more, every client ends with what its views serve."""
        for _ in range(400):
            moved = [self._exchange(wire, client) for client, wire in enumerate(self.wires)]
            deadlines = [wire.stream.deadline() for wire in self.wires]
            if not any(moved):
                pending = [deadline for deadline in deadlines if deadline is not None and deadline < 1e8]
                if not pending:
                    break
                self.now = max(self.now, min(pending))
        else:
            raise AssertionError("the streams never come to rest")
        for wire in self.wires:
            self._equals_target(wire)

    def _equals_target(self, wire: Wire) -> None:
        envoy = wire.envoy

        # That a route was rejected cannot be said in the state of the world: an empty one would be served.
        def withheld(ref: Ref) -> bool:
            return any(view.withheld(ref) for view in wire.views)

        # What this client alone rejected was an answer to it.
        refused = {(s.type_url, name) for s in wire.stream.status() for name, _ in s.refused}
        waiting = {(s.type_url, wait.name) for s in wire.stream.status() for wait in s.waiting}
        assert not waiting or (refused and wire.patience.wait > 1e8)
        unanswered = envoy.unanswered() - refused - waiting
        unsaid = {ref for ref in unanswered if isinstance(envoy, SotwModelEnvoy) and withheld(ref)}
        assert {kind for kind, _ in unsaid} <= {ROUTE}
        assert unanswered == unsaid
        assert not envoy.warming
        assert not envoy.withheld
        # What was removed and came back rejected, before the client heard of it, stays there with all that it needs.
        kept = any(withheld((kind, name)) for kind, held in envoy.held.items() for name in held)
        # So does what is needed by one whose removal was in a response that the client rejected: whether it took that
        # part it does not say, and to remove it once more could take what serves.
        kept |= not isinstance(envoy, SotwModelEnvoy) and any(withheld(ref) for ref in envoy.in_doubt)
        # And what a listener needs that serves on while the one after it waits for routes which were rejected.
        kept |= any(withheld((ROUTE, name)) for name in envoy.subscribed[ROUTE])
        # So does what this client alone rejects, and what needs it waits.
        excused = {name for _, name in refused | waiting}
        # What a client came with to another control plane is not known in the state of the world. While one of it waits
        # nothing can be said of its type: to leave that one out would remove it.
        mute = {
            s.type_url
            for s in wire.stream.status()
            if isinstance(envoy, SotwModelEnvoy) and wire.lenient and s.type_url in WHOLE and s.waiting and not s.acked
        }
        excused |= {name for kind in mute for view in wire.views for name in view.table(kind)}
        for type_url in (CLUSTER, LISTENER, ENDPOINT, ROUTE):
            served = {n: r.version for view in wire.views for n, r in view.table(type_url).items()}
            held = {name: held.version for name, held in envoy.held[type_url].items()}
            if type_url in envoy.subscribed:
                served = {name: v for name, v in served.items() if name in envoy.subscribed[type_url]}
            served = {name: version for name, version in served.items() if name not in excused}
            if kept or excused or type_url in envoy.subscribed:
                # Envoy keeps routes and endpoints that were removed while something of its own still uses them.
                held = {name: v for name, v in held.items() if name in served}
            assert held == served, type_url

    @invariant()
    def rejected_is_not_served(self) -> None:
        if hasattr(self, "main"):
            for view in (self.main, self.twin):
                for rejection in view.rejections():
                    served = view.get((rejection.type_url, rejection.name))
                    assert served is None or served.version != rejection.version

    @invariant()
    def a_rejection_never_promotes(self) -> None:
        """What takes the place of the rejected was ACKed by somebody."""
        if hasattr(self, "main"):
            for view in (self.main, self.twin):
                for blocked in view.blocked().values():
                    assert blocked.good is None or blocked.good.version in self.acked, blocked

    @invariant()
    def nothing_new_needs_what_is_withheld(self) -> None:
        if hasattr(self, "main"):
            for view in (self.main, self.twin):
                withheld = {(CLUSTER, name) for name in self._withheld_clusters(view)}
                for route in view.table(ROUTE).values():
                    assert withheld.isdisjoint(route.refs) or route.version in self.acked

    def _withheld_clusters(self, view: View) -> set[str]:
        return {name for name in self.clusters if view.withheld((CLUSTER, name))}

    def teardown(self) -> None:
        if hasattr(self, "wires"):
            self.quiet()


Delivery.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None, derandomize=True)
TestDelivery = Delivery.TestCase


def test_with_a_seed_of_today():
    """The fixed seed finds what broke; this one what was never right."""
    number = random.SystemRandom().getrandbits(32)
    logging.getLogger(__name__).warning("to see it again: seed(%d)", number)

    @seed(number)
    class Today(Delivery):
        pass

    run_state_machine_as_test(Today, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
