"""The steps of a rotation, one by one."""

from datetime import timedelta

import pytest

from ca.authority import Authority, AuthorityError, new_root
from ca.rotation import LOST_AFTER, OVERLAP, Phase, Report, Rotation, digest, renewal_due, signs_under
from ca.rotation_document import DocumentError, dump, load
from tests.ca.conftest import NOW, issue_intermediate

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def other() -> Authority:
    return new_root("cluster.local", now=NOW)


def steady(root: Authority) -> Rotation:
    return Rotation(root).cover(NOW + 24 * HOUR)


def confirmed(state: Rotation, now, *waiting: str) -> Rotation:
    return state.heard("one", Report(now, state.bundle, waiting)).step(now)


def test_a_new_root_is_trusted_at_once_and_signs_nothing(root, other):
    state = steady(root).begin(other, NOW)
    assert state.phase is Phase.distributing
    assert state.authority.certificate == root.certificate
    assert set(state.authority.roots) == {root.certificate, other.certificate}


def test_it_signs_when_every_control_plane_says_that_its_proxies_trust_it(root, other):
    later = NOW + OVERLAP
    state = steady(root).heard("two", Report(later, "another bundle")).begin(other, NOW)
    assert confirmed(state, later - SECOND).phase is Phase.distributing, "files that follow the bundle are given time"
    assert confirmed(state, later, "web-1.shop").phase is Phase.distributing
    waiting = confirmed(state, later)
    assert waiting.waits_for(later) == ("control plane two",)
    done = confirmed(waiting.heard("two", Report(later, state.bundle)), later)
    assert done.phase is Phase.retiring
    assert done.authority.certificate == other.certificate
    assert set(done.roots) == {root.certificate, other.certificate}


def test_without_a_control_plane_nothing_moves(root, other):
    state = steady(root).begin(other, NOW)
    assert state.step(NOW + 5 * OVERLAP) is state
    assert state.waits_for(NOW + 5 * OVERLAP) == ("a control plane: none runs",)


def test_a_control_plane_that_is_lost_or_has_left_is_not_waited_for(root, other):
    later = NOW + LOST_AFTER + SECOND
    state = steady(root).heard("two", Report(NOW, "")).heard("three", Report(later, "")).begin(other, NOW)
    assert confirmed(state.left("three"), later).phase is Phase.retiring


def test_an_old_root_goes_when_the_last_certificate_under_it_has_expired(root, other):
    state = confirmed(steady(root).begin(other, NOW), NOW + OVERLAP)
    end = NOW + 24 * HOUR
    assert root.certificate in state.step(end - SECOND).roots
    gone = state.step(end)
    assert gone.phase is Phase.steady
    assert gone.roots == (other.certificate,)


def test_who_keeps_its_own_key_is_given_time_to_renew(root, other):
    state = steady(root).cover(NOW + 2 * HOUR, requested=True).begin(other, NOW)
    assert confirmed(state, NOW + HOUR).phase is Phase.distributing
    assert "certificate service" in confirmed(state, NOW + HOUR).waits_for(NOW + HOUR)[0]
    assert confirmed(state, NOW + 2 * HOUR).phase is Phase.retiring


def test_the_operator_may_end_either_wait(root, other):
    state = steady(root).begin(other, NOW).hurry().step(NOW)
    assert state.authority.certificate == other.certificate
    assert state.phase is Phase.retiring, "each phase is hurried by itself"
    assert state.hurry().step(NOW).roots == (other.certificate,)
    with pytest.raises(AuthorityError, match="no rotation"):
        steady(root).hurry()


def test_a_change_of_mind_gives_up_what_signed_nothing(root, other):
    third = new_root("cluster.local", now=NOW)
    state = steady(root).begin(other, NOW).begin(third, NOW + SECOND)
    assert set(state.roots) == {root.certificate, third.certificate}
    assert state.begin(root, NOW + SECOND).phase is Phase.steady
    assert state.begin(root, NOW + SECOND).roots == (root.certificate,)


def test_a_new_intermediate_under_a_trusted_root_signs_at_once(root):
    first, second = (issue_intermediate(root, name) for name in ("one", "two"))
    state = steady(first).begin(second, NOW)
    assert state.phase is Phase.steady
    assert state.authority.certificate == second.certificate
    assert signs_under(state.active) == root.certificate


def test_a_root_that_the_operator_adds_is_distributed_and_one_that_is_taken_away_stays_for_a_while(root, other):
    both = Authority(root.certificate, root.key, (root.certificate, other.certificate))
    added = steady(root).begin(both, NOW)
    assert added.phase is Phase.distributing
    there = confirmed(added, NOW + OVERLAP)
    assert there.phase is Phase.steady
    removed = there.cover(NOW + HOUR).begin(root, NOW + OVERLAP)
    assert removed.phase is Phase.retiring
    assert set(removed.roots) == {root.certificate, other.certificate}


def test_a_retiring_root_may_come_back(root, other):
    state = confirmed(steady(root).begin(other, NOW), NOW + OVERLAP)
    back = state.begin(root, NOW + OVERLAP)
    assert back.authority.certificate == root.certificate
    assert [each.root for each in back.retiring] == [], "nothing was signed with the other"


def test_a_self_signed_root_is_replaced_in_the_last_fifth_of_its_life(root):
    end = root.not_after
    assert not renewal_due(root, end - timedelta(days=731))
    assert renewal_due(root, end - timedelta(days=729))


def test_the_document_holds_all_of_it(intermediate, other):
    third = new_root("cluster.local", now=NOW)
    state = confirmed(steady(intermediate).begin(other, NOW), NOW + OVERLAP).begin(third, NOW + OVERLAP)
    state = state.heard("two", Report(NOW, "abc", ("web-1.shop",))).cover(NOW + 30 * HOUR, requested=True)
    assert load(dump(state)) == state
    assert load(dump(state)).active.key.private_numbers() == other.key.private_numbers()


def test_a_damaged_document_is_told_without_its_content(root):
    document = dump(steady(root))
    for damaged in (b"", b"{}", document[:-40], document.replace(b"BEGIN PRIVATE", b"BEGUN PRIVATE"), b'{"format": 9}'):
        with pytest.raises(DocumentError) as error:
            load(damaged)
        assert "PRIVATE" not in str(error.value)


def test_the_digest_of_a_bundle_is_of_its_set(root, other):
    assert digest((root.certificate, other.certificate)) == digest((other.certificate, root.certificate))
    assert digest((root.certificate,)) != digest((other.certificate,))
