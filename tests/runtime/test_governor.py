"""Changes go out at once, until they would take more than their share."""

from dragoman.runtime.governor import CREDIT, LONGEST_PAUSE, SHARE, Governor


class Machine:
    """A clock and a processor's clock."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.governor = Governor(lambda: self.now, lambda: self.used)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds


def test_changes_that_leave_time_between_them_never_wait() -> None:
    machine = Machine()
    for _ in range(100):
        machine.work(0.02)
        assert machine.governor.pause() == 0
        machine.now += 0.03


def test_a_storm_is_held_to_its_share() -> None:
    machine = Machine()
    for _ in range(500):
        machine.work(0.03)
        machine.now += machine.governor.pause()
    assert machine.used / machine.now < SHARE + 0.02


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
