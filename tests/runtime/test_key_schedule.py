"""When keys are fetched."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crds.meta import ObjectKey
from dragoman.mesh.request_authentications import KeySource, KeyUse
from dragoman.runtime.key_schedule import REFRESH_AFTER, KeySchedule

A, B = (KeySource(f"https://{name}.example/keys", discovered=False) for name in "ab")
POLICY = ObjectKey("RequestAuthentication", "shop", "jwt")


def use(*sources: KeySource) -> tuple[KeyUse, ...]:
    return tuple(KeyUse(source, timedelta(seconds=5), (POLICY,)) for source in sources)


def schedule() -> KeySchedule:
    return KeySchedule(random.Random(1))  # noqa: S311 - jitter


def test_a_new_source_is_fetched_at_once_and_then_from_time_to_time() -> None:
    plan = schedule()
    plan.use(use(A), 100.0)
    assert plan.deadline() == 100.0
    assert plan.start(100.0) == (A,)
    assert plan.start(100.0) == (), "it is under way"
    assert plan.deadline() is None
    assert plan.succeeded(A, "keys", 101.0)
    due = plan.deadline()
    assert due is not None
    assert 101.0 + 0.9 * REFRESH_AFTER <= due <= 101.0 + REFRESH_AFTER
    assert plan.start(due - 1) == ()
    assert plan.start(due) == (A,)
    assert not plan.succeeded(A, "keys", due), "nothing new"


def test_what_fails_is_tried_again_soon_then_less_and_less_often_and_the_last_keys_stay() -> None:
    plan = schedule()
    plan.use(use(A), 0.0)
    plan.start(0.0)
    plan.succeeded(A, "keys", 0.0)
    now, waits = plan.deadline() or 0.0, []
    for number in range(10):
        assert plan.start(now) == (A,)
        assert plan.failed(A, "no answer", now) is (number == 0), "the same problem is told once"
        due = plan.deadline()
        assert due is not None
        waits.append(due - now)
        now = due
    assert 0.9 <= waits[0] <= 1.0
    assert all(1.6 <= later / sooner <= 2.3 for sooner, later in itertools.pairwise(waits[:6]))
    assert all(54.0 <= wait <= 60.0 for wait in waits[7:])
    assert plan.states[A].text == "keys"
    plan.start(now)
    assert plan.failed(A, "another reason", now)
    plan.start(plan.deadline() or 0.0)
    assert plan.succeeded(A, "new keys", now)
    assert (plan.states[A].failures, plan.states[A].problem) == (0, "")


def test_keys_of_a_policy_that_comes_back_are_still_there_and_those_of_one_that_does_not_are_forgotten() -> None:
    plan = schedule()
    plan.use(use(A, B), 0.0)
    plan.start(0.0)
    plan.succeeded(A, "a", 0.0)
    plan.succeeded(B, "b", 0.0)
    plan.use((), 10.0)
    plan.use(use(A), 20.0)
    assert plan.states[A].text == "a"
    assert plan.forget(600.0) == ()
    assert plan.deadline() == 610.0
    assert plan.forget(610.0) == (B,)
    assert list(plan.states) == [A]
    assert not plan.succeeded(B, "late", 611.0)
    assert not plan.failed(B, "late", 611.0)


def test_sources_that_keep_failing_do_not_hold_up_others() -> None:
    plan = schedule()
    failing = [KeySource(f"https://{number}.example/", discovered=True) for number in range(100)]
    plan.use(use(*failing), 0.0)
    now = 0.0
    for _ in range(8):
        for source in plan.start(now):
            plan.failed(source, "no answer", now)
        now += 100.0
    plan.use(use(*failing, B), now)
    assert plan.start(now)[0] == B


class Schedules(RuleBasedStateMachine):
    """Whatever happens: not too much at once, nothing twice at once, nothing forgotten, good keys kept."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = schedule()
        self.now = 0.0
        self.wanted: set[KeySource] = set()
        self.under_way: list[KeySource] = []
        self.good: dict[KeySource, str] = {}

    @rule(numbers=st.sets(st.integers(0, 40), max_size=41))
    def names(self, numbers: set[int]) -> None:
        self.wanted = {KeySource(f"https://{number}.example/", discovered=False) for number in numbers}
        self.plan.use(use(*sorted(self.wanted)), self.now)

    @rule(seconds=st.floats(0, 2000))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def starts(self) -> None:
        begun = self.plan.start(self.now)
        assert not set(begun) & set(self.under_way)
        assert set(begun) <= self.wanted
        self.under_way += begun
        assert len(self.under_way) <= 32
        if len(self.under_way) < 32:
            assert all(self.plan.states[source].due > self.now for source in self.wanted - set(self.under_way))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), text=st.sampled_from(["one", "two", None]))
    def ends(self, data: st.DataObject, text: str | None) -> None:
        source = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        if text is None:
            self.plan.failed(source, "no answer", self.now)
        else:
            assert self.plan.succeeded(source, text, self.now) is (self.good.get(source) != text)
            self.good[source] = text

    @rule()
    def forgets(self) -> None:
        for source in self.plan.forget(self.now):
            assert source not in self.wanted
            self.good.pop(source, None)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.wanted <= self.plan.states.keys()
        assert {source: state.text for source, state in self.plan.states.items() if state.text} == self.good

    @invariant()
    def there_is_always_a_next_time(self) -> None:
        if self.wanted - set(self.under_way) and len(self.under_way) < 32:
            assert self.plan.deadline() is not None


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
