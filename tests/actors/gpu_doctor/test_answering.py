"""A device whose numbers or answers differ is found; bfloat16 is another device that is at hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from actors.gpu_doctor import answering
from actors.gpu_doctor.answering import QUESTIONS, Results
from actors.gpu_doctor.parts import Unfit
from models.weight_format import WeightFormat

FRAMES = 40  # so that the memory is compacted


@pytest.fixture(scope="module")
def exact() -> Results:
    return answering.results_on("cpu", WeightFormat.FLOAT32, FRAMES)


def test_the_tiny_model_answers_something(exact: Results) -> None:
    assert all(exact.answers)
    assert len(set(exact.answers)) > 1
    assert exact.keys[0].shape[1] >= 256


def test_a_device_that_computes_in_bfloat16_is_not_one_that_computes_in_float32(exact: Results) -> None:
    coarse = answering.results_on("cpu", WeightFormat.BFLOAT16, FRAMES)

    with pytest.raises(Unfit):
        answering.require_same(coarse, exact)
    assert answering.require_close(coarse, exact) >= answering.MIN_EQUAL_ANSWERS


def test_one_other_answer_is_named(exact: Results) -> None:
    other = replace(exact, answers=[*exact.answers[:-1], "a zebra"])

    with pytest.raises(Unfit, match=f"'{QUESTIONS[-1]}': 'a zebra'"):
        answering.require_same(other, exact)


@pytest.mark.parametrize("wrong", [0.02, float("nan"), float("inf")])
def test_one_wrong_key_is_found(exact: Results, wrong: float) -> None:
    keys = [tensor.clone() for tensor in exact.keys]
    keys[2][0, 7, 3] += wrong

    with pytest.raises(Unfit, match="keys or logits are off by"):
        answering.require_same(replace(exact, keys=keys), exact)


def test_numbers_that_are_not_finite_are_unfit_in_bfloat16_too(exact: Results) -> None:
    with pytest.raises(Unfit, match="not finite"):
        answering.require_close(replace(exact, logits=exact.logits * torch.inf), exact)


def test_few_equal_answers_are_unfit(exact: Results) -> None:
    with pytest.raises(Unfit, match="3 of 5 answers as in float32"):
        answering.require_close(replace(exact, answers=["", "", *exact.answers[2:]]), exact)


def test_the_time_to_the_first_token_has_a_limit() -> None:
    assert answering.check_ttft("cpu", max_ms=1e9).figures["ttft_p50_ms"] > 0
    with pytest.raises(Unfit, match="limit 1e-06"):
        answering.check_ttft("cpu", max_ms=1e-6)
