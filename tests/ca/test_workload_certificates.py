# ruff: noqa: S311 - jitter is no secret
import random
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ca import AuthorityError, NotHeldError, SpiffeId, WorkloadCertificates, WorkloadIdentity, new_root
from tests.ca.conftest import NOW

CLIENT = WorkloadIdentity(SpiffeId("cluster.local", "default", "client"), "client-v1")
OTHER = WorkloadIdentity(CLIENT.spiffe_id, "client-v2")
DAY = timedelta(days=1)


class Clock:
    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def certificates(root, clock) -> WorkloadCertificates:
    return WorkloadCertificates(root, clock, random.Random(1))


def test_the_certificate_verifies_and_its_key_fits(certificates, intermediate, root, clock):
    for authority in (root, intermediate):
        issued = WorkloadCertificates(authority, clock, random.Random(1)).acquire(CLIENT, "stream")
        leaf, *rest = x509.load_pem_x509_certificates(issued.chain_pem)
        assert tuple(rest) == authority.intermediates
        client = PolicyBuilder().store(Store(authority.roots)).time(NOW).build_client_verifier().verify(leaf, rest)
        assert [name.value for name in client.subjects] == [str(CLIENT.spiffe_id), CLIENT.dns_name]
        assert load_pem_private_key(issued.key_pem, None).public_key() == leaf.public_key()
        assert (issued.identity, issued.serial) == (CLIENT, leaf.serial_number)
        assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def test_the_trust_bundle_is_the_authoritys(certificates, root):
    assert certificates.roots_pem == root.roots_pem


def test_holders_share_one_key_and_workloads_of_one_account_do_not(certificates):
    first = certificates.acquire(CLIENT, "a")
    assert certificates.acquire(CLIENT, "b") is first
    assert certificates.get(CLIENT) is first
    assert certificates.acquire(OTHER, "a").key_pem != first.key_pem


def test_the_key_goes_with_the_last_holder(certificates):
    first = certificates.acquire(CLIENT, "a")
    certificates.acquire(CLIENT, "b")
    certificates.acquire(CLIENT, "b")
    certificates.release(CLIENT, "b")
    assert certificates.get(CLIENT) is first
    certificates.release(CLIENT, "a")
    with pytest.raises(NotHeldError, match="client-v1"):
        certificates.get(CLIENT)
    assert certificates.acquire(CLIENT, "c").key_pem != first.key_pem


def test_what_nobody_holds(certificates):
    certificates.acquire(CLIENT, "a")
    for attempt in (
        lambda: certificates.get(OTHER),
        lambda: certificates.rotate(OTHER),
        lambda: certificates.release(OTHER, "a"),
        lambda: certificates.release(CLIENT, "stranger"),
    ):
        with pytest.raises(NotHeldError):
            attempt()


def test_rotation_on_demand_changes_key_and_certificate(certificates, clock):
    first = certificates.acquire(CLIENT, "a")
    clock.now += timedelta(minutes=1)
    second = certificates.rotate(CLIENT)
    assert certificates.get(CLIENT) is second
    assert second.key_pem != first.key_pem
    assert second.serial != first.serial
    assert second.not_after == first.not_after + timedelta(minutes=1)
    assert certificates.next_deadline() == second.rotate_at


def test_due_at_half_life_and_until_rotated(certificates, clock):
    issued = certificates.acquire(CLIENT, "a")
    assert certificates.next_deadline() == issued.rotate_at
    assert certificates.due(issued.rotate_at - timedelta(microseconds=1)) == ()
    assert certificates.due(issued.rotate_at) == (CLIENT,)
    assert certificates.due(issued.rotate_at) == (CLIENT,)
    clock.now = issued.rotate_at
    certificates.rotate(CLIENT)
    assert certificates.due(issued.rotate_at) == ()


def test_the_longest_overdue_comes_first(certificates, clock):
    certificates.acquire(CLIENT, "a")
    clock.now += timedelta(hours=1)
    certificates.acquire(OTHER, "a")
    assert certificates.due(NOW + DAY) == (CLIENT, OTHER)
    certificates.rotate(CLIENT)
    assert certificates.due(NOW + DAY) == (OTHER, CLIENT)


def test_rotating_twice_at_one_instant_is_due_once(root, clock):
    class NoJitter(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return 0.0

    certificates = WorkloadCertificates(root, clock, NoJitter())
    certificates.acquire(CLIENT, "a")
    certificates.rotate(CLIENT)
    assert certificates.due(NOW + DAY) == (CLIENT,)


def test_nothing_held_nothing_due(certificates):
    certificates.acquire(CLIENT, "a")
    certificates.release(CLIENT, "a")
    assert certificates.next_deadline() is None
    assert certificates.due(NOW + 9 * DAY) == ()


def test_workloads_started_together_drift_apart(certificates):
    moments = {
        certificates.acquire(WorkloadIdentity(CLIENT.spiffe_id, f"w{number}"), "a").rotate_at for number in range(50)
    }
    assert len(moments) == 50
    middle = NOW + DAY / 2
    assert all(abs(moment - middle) <= DAY * 0.01 for moment in moments)
    assert max(moments) - min(moments) > DAY * 0.01


def test_a_failed_rotation_leaves_the_old_certificate_in_use(clock):
    certificates = WorkloadCertificates(new_root("cluster.local", now=NOW, lifetime=DAY), clock, random.Random(1))
    first = certificates.acquire(CLIENT, "a")
    clock.now += DAY
    with pytest.raises(AuthorityError, match="expires"):
        certificates.rotate(CLIENT)
    assert certificates.get(CLIENT) is first
    with pytest.raises(AuthorityError, match="expires"):
        certificates.acquire(OTHER, "a")
    with pytest.raises(NotHeldError):
        certificates.get(OTHER)


def test_streams_that_come_and_go_leave_nothing_behind(certificates):
    certificates.acquire(OTHER, "a")
    for number in range(300):
        certificates.acquire(CLIENT, number)
        certificates.release(CLIENT, number)
    assert len(certificates._schedule) < 100
    assert certificates.next_deadline() == certificates.get(OTHER).rotate_at


def test_no_key_in_repr(certificates):
    issued = certificates.acquire(CLIENT, "a")
    assert "PRIVATE" not in repr(issued)
    assert "PRIVATE" not in str(vars(certificates))


IDENTITIES = st.sampled_from([WorkloadIdentity(CLIENT.spiffe_id, f"w{number}") for number in range(4)])
HOLDERS = st.sampled_from("abc")


class Schedule(RuleBasedStateMachine):
    """An owner that sleeps until `next_deadline()` and rotates what is due, while streams come and go."""

    @initialize(
        lifetime=st.timedeltas(timedelta(seconds=10), timedelta(days=90)),
        seed=st.integers(0, 2**32),
        microsecond=st.integers(0, 999_999),
    )
    def begin(self, lifetime, seed, microsecond):
        self.clock = Clock(NOW.replace(microsecond=microsecond))
        self.lifetime = lifetime
        self.certificates = WorkloadCertificates(
            new_root("cluster.local", now=NOW), self.clock, random.Random(seed), lifetime=lifetime
        )
        self.holders: dict[WorkloadIdentity, set[str]] = {}

    @rule(identity=IDENTITIES, holder=HOLDERS)
    def acquire(self, identity, holder):
        issued = self.certificates.acquire(identity, holder)
        self.holders.setdefault(identity, set()).add(holder)
        assert issued is self.certificates.get(identity)

    @rule(identity=IDENTITIES, holder=HOLDERS)
    def release(self, identity, holder):
        if holder not in self.holders.get(identity, ()):
            with pytest.raises(NotHeldError):
                self.certificates.release(identity, holder)
            return
        self.certificates.release(identity, holder)
        self.holders[identity].discard(holder)
        if not self.holders[identity]:
            del self.holders[identity]

    @rule(identity=IDENTITIES)
    def rotate_on_demand(self, identity):
        if identity in self.holders:
            before = self.certificates.get(identity)
            assert self.certificates.rotate(identity).key_pem != before.key_pem

    @precondition(lambda self: self.holders)
    @rule()
    def sleep_until_the_deadline(self):
        deadline = self.certificates.next_deadline()
        self.clock.now = max(self.clock.now, deadline)
        due = self.certificates.due(self.clock.now)
        assert due
        for identity in due:
            self.certificates.rotate(identity)

    @rule(fraction=st.floats(0, 1))
    def sleep_less(self, fraction):
        deadline = self.certificates.next_deadline()
        if deadline is not None:
            self.clock.now += (deadline - self.clock.now) * fraction * 0.999

    @invariant()
    def held_certificates_are_valid_and_past_half_life_never(self):
        if not hasattr(self, "holders"):
            return
        now, second = self.clock.now, timedelta(seconds=1)
        deadlines = []
        for identity in self.holders:
            issued = self.certificates.get(identity)
            assert issued.not_before <= now < issued.not_after
            assert issued.not_after - now >= self.lifetime * 0.49 - second
            assert issued.rotate_at >= now
            deadlines.append(issued.rotate_at)
        assert self.certificates.next_deadline() == min(deadlines, default=None)


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
