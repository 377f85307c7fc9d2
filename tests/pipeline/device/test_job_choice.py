"""How many frames a question may wait for follows from what both take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.device.job_choice import JobChoice
from pipeline.device.scheduler import Scheduler, Work
from pipeline.device.step_costs import StepCosts


@pytest.mark.parametrize(
    ("prefill_s", "token_s", "quick_tokens"), [(0.5, 0.01, 50), (0.0, 0.01, None), (0.5, 0.0, None)]
)
def test_a_part_of_a_step_has_as_many_tokens_as_take_what_a_question_takes(
    prefill_s: float, token_s: float, quick_tokens: int | None
) -> None:
    costs = StepCosts()
    costs.note(Work.APPEND, 100, 100 * token_s)
    questions: Any = SimpleNamespace(prefill_s=prefill_s)
    rest: Any = SimpleNamespace(costs=costs)

    assert JobChoice(Scheduler(max_tokens=1), rest, questions, rest, rest, rest).quick_tokens == quick_tokens
