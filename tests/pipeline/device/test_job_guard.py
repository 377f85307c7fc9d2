"""A pass over several that fails is done again one by one; only what fails by itself is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from pipeline.device import job_guard


class Passes:
    """Doubles numbers, and fails at the bad ones."""

    def __init__(self, *bad: int, error: type[Exception] = ValueError) -> None:
        self._bad, self._error = bad, error
        self.passes: list[list[int]] = []
        self.failed: list[int] = []
        self.reports: list[str] = []

    def run(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        return job_guard.in_one_pass(
            numbers,
            self._double,
            fail=lambda number, _: self.failed.append(number),
            report=lambda error: self.reports.append(repr(error)),
        )

    def _double(self, numbers: Sequence[int]) -> list[int]:
        self.passes.append(list(numbers))
        for number in numbers:
            if number in self._bad:
                raise self._error(number)
        return [2 * number for number in numbers]


def test_what_does_not_fail_is_one_pass() -> None:
    passes = Passes()

    assert passes.run([1, 2, 3]) == [(1, 2), (2, 4), (3, 6)]
    assert (passes.passes, passes.failed, passes.reports) == ([[1, 2, 3]], [], [])


def test_a_pass_that_fails_is_done_again_one_by_one() -> None:
    passes = Passes(2)

    assert passes.run([1, 2, 3]) == [(1, 2), (3, 6)]
    assert passes.passes == [[1, 2, 3], [1], [2], [3]]
    assert (passes.failed, passes.reports) == ([2], ["ValueError(2)"])


def test_one_that_fails_alone_is_not_tried_again_and_none_is_no_pass() -> None:
    passes = Passes(2)

    assert passes.run([2]) == []
    assert passes.run([]) == []
    assert (passes.passes, passes.failed, passes.reports) == ([[2]], [2], [])


def test_a_lost_gpu_ends_the_passes() -> None:
    passes = Passes(2, error=torch.AcceleratorError)

    with pytest.raises(torch.AcceleratorError):
        passes.run([1, 2, 3])
    assert (passes.passes, passes.failed) == ([[1, 2, 3]], [])
