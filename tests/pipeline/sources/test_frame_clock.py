"""The clock of a feed runs on evenly when the wall clock is set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.frame_clock import SteadyClock
from tests.pipeline.playing import START_S
from tests.pipeline.sources.machine_clocks import Machine

HOUR_S = 3_600.0


@given(unix_s=st.floats(1.5e9, 2e9), step_s=st.floats(-1e6, 1e6))
def test_a_time_that_goes_through_the_feeds_clock_comes_back_to_the_bit(unix_s: float, step_s: float) -> None:
    """Or each process would show a simulated camera's frames at other times."""
    machine = Machine()
    machine.set_clock(step_s)
    correction_s = machine.clock.correction_s()

    assert (unix_s - correction_s) + correction_s == unix_s


def test_the_clock_of_a_feed_runs_on_when_the_wall_clock_is_set() -> None:
    machine = Machine()
    before_s = machine.clock()
    machine.set_clock(-HOUR_S)
    machine.boot_s += 1

    assert machine.clock() - before_s == 1
    assert machine.clock.correction_s() == -HOUR_S


def test_a_thread_that_waits_between_two_readings_does_not_move_its_frames() -> None:
    """The wall clock is read first; the clock of the boot may be read much later."""
    delays_s = iter([0.0, 0.0, 0.0, 0.4, 0.0, 0.3])
    clock = SteadyClock(wall=lambda: START_S, boot=lambda: 50.0 + next(delays_s))

    assert clock.correction_s() == 0
