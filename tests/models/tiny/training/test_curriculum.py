"""The schedule of the training ends on time, with a learning rate of zero."""

import pytest

from models.tiny.training.curriculum import DECAY_SHARE, PEAK_RATE, WARM_UP_STEPS, Schedule
from models.tiny.training.stages import LLAVA_ONEVISION_STAGES, QWEN3_VL_STAGES, Stage

STAGES = LLAVA_ONEVISION_STAGES


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("stages", [LLAVA_ONEVISION_STAGES, QWEN3_VL_STAGES], ids=["llava_onevision", "qwen3_vl"])
def test_the_stages_fill_the_time(stages: tuple[Stage, ...]) -> None:
    assert sum(stage.share for stage in stages) == pytest.approx(1)


def test_the_stages_follow_one_another_and_the_last_one_stays() -> None:
    clock = FakeClock()
    schedule = Schedule(10, STAGES, clock=clock)

    reached = []
    for second in range(0, 700, 5):
        clock.now_s = float(second)
        reached.append(schedule.stage())

    assert reached == sorted(reached)
    assert set(reached) == set(range(len(STAGES)))


def test_the_rate_rises_stays_and_ends_at_zero() -> None:
    clock = FakeClock()
    schedule = Schedule(10, STAGES, clock=clock)

    assert schedule.rate(0) < PEAK_RATE / 10
    assert schedule.rate(WARM_UP_STEPS) == PEAK_RATE
    clock.now_s = 600.0 * (1 - DECAY_SHARE / 2)
    assert schedule.rate(1000) == pytest.approx(PEAK_RATE / 2)
    clock.now_s = 601.0
    assert schedule.rate(1000) == 0
