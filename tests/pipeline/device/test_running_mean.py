"""What a figure was lately: a mean that follows, and one that a peak moves at once."""

from __future__ import annotations

import pytest

from pipeline.device import running_mean


def test_the_first_measurement_counts_in_full_and_a_later_one_a_tenth() -> None:
    assert running_mean.mean(0.0, 5.0) == 5.0
    assert running_mean.mean(5.0, 15.0) == pytest.approx(6.0)
    assert running_mean.mean(5.0, 0.0) == pytest.approx(4.5)


def test_a_peak_counts_in_full_and_fades() -> None:
    assert running_mean.peak(5.0, 15.0) == 15.0
    assert running_mean.peak(15.0, 5.0) == pytest.approx(14.0)
    assert running_mean.peak(0.0, 5.0) == 5.0
