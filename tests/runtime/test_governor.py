"""Changes go out at once, until they would take more than their share."""

import pytest

from dragoman.runtime.governor import CREDIT, CREDIT_ALONE, LONGEST_PAUSE, QUIET, SHARE, SHARE_ALONE, Governor


class Machine:
    """A clock and a processor's clock."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.governor = Governor(lambda: self.now, lambda: self.used)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds

    def pause(self) -> float:
        """How long a change waits that comes now."""
        self.governor.arrived(1)
        return self.governor.pause()


def test_changes_that_leave_time_between_them_never_wait() -> None:
    machine = Machine()
    for _ in range(100):
        machine.work(0.02)
        assert machine.pause() == 0
        machine.now += 0.03


def test_a_storm_is_held_to_its_share() -> None:
    machine = Machine()
    for _ in range(500):
        machine.work(0.03)
        machine.governor.arrived(10)
        machine.now += machine.governor.pause()
    assert machine.used / machine.now < SHARE + 0.02


@pytest.mark.parametrize("changes", [1, 2], ids=["alone", "two together"])
def test_wide_changes_that_come_alone_may_take_more_than_the_share_for_a_while(changes: int) -> None:
    machine = Machine()
    waited = 0
    for _ in range(200):
        machine.work(0.055)
        machine.now += 0.045
        machine.governor.arrived(changes)
        waited += machine.governor.pause() > 0
    assert (waited == 0) == (changes == 1)


def test_changes_that_come_alone_without_end_are_held_to_a_share_too() -> None:
    machine = Machine()
    for _ in range(1000):
        machine.work(0.12)
        machine.now += QUIET
        machine.now += machine.pause()
    assert machine.used / machine.now < SHARE_ALONE + CREDIT_ALONE / machine.now + 0.02


def test_very_wide_changes_that_come_alone_do_not_wait() -> None:
    """One route configuration of ten thousand services to a hundred proxies."""
    machine = Machine()
    for _ in range(200):
        machine.work(0.2)
        machine.now += 0.06
        assert machine.pause() == 0


def test_a_change_right_after_another_is_not_alone() -> None:
    machine = Machine()
    machine.work(4 * CREDIT)
    machine.now += QUIET
    assert machine.pause() == 0
    machine.work(QUIET / 2)
    assert machine.pause() > 0


def test_a_burst_after_quiet_is_not_held_back_but_for_what_exceeds_the_credit() -> None:
    machine = Machine()
    machine.now += 60
    machine.governor.pause()
    machine.work(CREDIT)
    assert machine.governor.pause() == 0
    machine.work(CREDIT * 2)
    assert machine.governor.pause() > 0


def test_nothing_waits_long_however_much_was_used() -> None:
    machine = Machine()
    machine.work(100)
    assert machine.governor.pause() == LONGEST_PAUSE
    machine.now += LONGEST_PAUSE
    assert machine.governor.pause() < 0.001
