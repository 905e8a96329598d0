"""Replicas, proxies that come and go, messages that are late, restarts: at no time does a peer meet a certificate that
it does not trust."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ca.authority import Authority, new_root
from ca.rotation import Phase, Report, Rotation, signs_under
from ca.rotation_document import dump, load
from ca.trust_ledger import TrustLedger
from tests.ca.conftest import NOW

LIFE = timedelta(minutes=30)
AHEAD = timedelta(minutes=4)
GRACE = timedelta(minutes=1)
LAG = timedelta(seconds=30)
"""How late a replica may read what others wrote."""

REPLICAS = st.integers(0, 1)
PROXIES = st.integers(0, 3)


@cache
def authority(number: int) -> Authority:
    return new_root(f"root-{number}", now=NOW - timedelta(days=1))


@dataclass
class Proxy:
    replica: int | None = None
    bundle: frozenset = frozenset()
    root: object = None
    expires: object = NOW - timedelta(days=1)
    left: object = NOW - timedelta(days=1)
    offered_bundle: frozenset = frozenset()
    offered: tuple | None = None
    behind: bool = False
    """It was gone for longer than anybody waits, and has not been told what changed."""


@dataclass
class Replica:
    state: Rotation
    name: str
    read: object = NOW
    ledger: TrustLedger = field(default_factory=lambda: TrustLedger(GRACE))


class Mesh(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = NOW
        self.roots = 1
        self.stored = dump(Rotation(authority(0)).cover(NOW + LIFE + AHEAD))
        self.started = 0
        self.replicas = [self.start(), self.start()]
        self.proxies = [Proxy() for _ in range(4)]
        for number in range(2):
            self.poll(number)
        for number in range(4):
            self.connect(number, number % 2)

    def start(self):
        self.started += 1
        return Replica(load(self.stored), f"replica {self.started}", self.now)

    # -- time and messages ---------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 12))
    def time_passes(self, times):
        for _ in range(times):
            self.seconds_pass(20)

    @rule(seconds=st.integers(1, 30))
    def seconds_pass(self, seconds):
        self.now += timedelta(seconds=seconds)
        for number, replica in enumerate(self.replicas):
            if self.now - replica.read >= LAG:
                self.poll(number)

    @rule(number=REPLICAS)
    def poll(self, number):
        """A replica reads, reports, moves the state on, writes, and acts on it."""
        replica = self.replicas[number]
        state = load(self.stored)
        self.adopt(number, state)
        for index, proxy in enumerate(self.proxies):
            if proxy.replica == number:
                confirmed = state.bundle if proxy.bundle == frozenset(state.roots) else None
                replica.ledger.seen(str(index), self.now, confirmed=confirmed)
        report = Report(self.now, state.bundle, replica.ledger.waiting(state.bundle, self.now))
        state = state.cover(self.now + LIFE + AHEAD).heard(replica.name, report).step(self.now)
        self.stored = dump(state)
        self.adopt(number, load(self.stored))

    def adopt(self, number, state):
        replica = self.replicas[number]
        replica.state, replica.read = state, self.now
        for proxy in self.proxies:
            if proxy.replica == number:
                self.offer(proxy, state)

    def offer(self, proxy, state):
        proxy.offered_bundle = frozenset(state.roots)
        held = proxy.offered[0] if proxy.offered else proxy.root
        if held != signs_under(state.active) or self.now > proxy.expires - LIFE / 2:
            proxy.offered = (signs_under(state.active), self.now + LIFE)

    @rule(number=PROXIES, which=st.sampled_from(["bundle", "certificate", "both"]))
    def deliver(self, number, which):
        proxy = self.proxies[number]
        if proxy.replica is None:
            return
        if which != "certificate":
            proxy.bundle, proxy.behind = proxy.offered_bundle, False
        if which != "bundle" and proxy.offered and proxy.bundle:
            proxy.root, proxy.expires = proxy.offered
            proxy.offered = None

    @rule()
    def everybody_learns_of_the_bundle(self):
        for number in range(4):
            self.deliver(number, "bundle")

    @rule(number=PROXIES)
    def disconnect(self, number):
        proxy = self.proxies[number]
        if proxy.replica is not None:
            proxy.replica, proxy.left, proxy.offered = None, self.now, None

    @rule(number=PROXIES, replica=REPLICAS)
    def connect(self, number, replica):
        proxy = self.proxies[number]
        if proxy.replica is None:
            proxy.replica = replica
            proxy.behind |= self.now - proxy.left > GRACE
            self.offer(proxy, self.replicas[replica].state)
            # Its listeners warm until it has both, or it has what it had.
            if not proxy.bundle:
                self.deliver(number, "both")

    # -- operators and accidents ---------------------------------------------------------------------------------

    @rule(back=st.sampled_from([0, 0, 0, 1, 2]), changes_mind=st.sampled_from([False] * 7 + [True]))
    def begin(self, back, changes_mind):
        """A new root, or one of those before it."""
        if load(self.stored).phase is Phase.distributing and not changes_mind:
            return
        self.roots += back == 0
        self.stored = dump(load(self.stored).begin(authority(max(0, self.roots - 1 - back)), self.now))

    @rule(number=REPLICAS)
    def restart(self, number):
        """A crash: whatever it knew is gone, its proxies lose their streams, and what replaces it has another name."""
        for index, proxy in enumerate(self.proxies):
            if proxy.replica == number:
                self.disconnect(index)
        self.replicas[number] = self.start()
        self.poll(number)

    def teardown(self):
        """A quiet hour ends any rotation."""
        for _ in range(40):
            for number in range(4):
                self.deliver(number, "both")
            self.seconds_pass(60)
        assert load(self.stored).phase is Phase.steady

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def every_peer_is_trusted(self):
        verifiers = [
            proxy
            for proxy in self.proxies
            if proxy.bundle and not proxy.behind and (proxy.replica is not None or self.now - proxy.left <= GRACE)
        ]
        holders = [p for p in self.proxies if p.root is not None and p.expires > self.now]
        for verifier in verifiers:
            for holder in holders:
                assert holder.root in verifier.bundle


Mesh.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    # Each step of the model costs milliseconds: a failing run is reported as it was found.
    phases=(Stage.explicit, Stage.reuse, Stage.generate),
)
TestRotationIsSafe = Mesh.TestCase
