"""What a token of frames takes is what it took at the slowest lately, in the slowest part of a step."""

from __future__ import annotations

import pytest

from pipeline.device.scheduler import Work
from pipeline.device.step_costs import StepCosts


def test_a_token_takes_what_it_took_at_the_slowest_lately() -> None:
    """A slower step counts in full, a faster one a tenth."""
    costs = StepCosts()
    seen = []
    for seconds in (64.0, 640.0, 64.0):
        costs.note(Work.APPEND, 64, seconds)
        seen.append(costs.of(Work.APPEND))

    assert seen == pytest.approx([1.0, 10.0, 9.1])


def test_the_slowest_part_counts() -> None:
    costs = StepCosts()
    assert costs.slowest == 0
    for part, seconds in ((Work.ENCODE, 3.0), (Work.APPEND, 1.0), (Work.COMPACT, 2.0)):
        costs.note(part, 10, seconds)

    assert costs.slowest == costs.of(Work.ENCODE) == pytest.approx(0.3)


def test_steps_without_a_token_are_not_measured() -> None:
    costs = StepCosts()
    costs.note(Work.APPEND, 0, 5.0)

    assert costs.slowest == 0
