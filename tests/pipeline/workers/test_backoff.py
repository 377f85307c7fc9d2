"""Pauses grow up to a limit, and never end what waits for them."""

from __future__ import annotations

from pipeline.workers import backoff


def test_each_pause_is_twice_the_one_before_up_to_the_last() -> None:
    assert [backoff.pause_s(5.0, 60.0, failures) for failures in range(6)] == [5, 10, 20, 40, 60, 60]


def test_a_camera_that_fails_for_days_is_still_tried_again() -> None:
    """Two to the power of its failures is no float any more."""
    assert backoff.pause_s(5.0, 300.0, 100_000) == 300
