"""What a feed says of its next try."""

from __future__ import annotations

import tenacity

from pipeline.sources import retries


def test_the_next_try_has_a_time_which_stays_true() -> None:
    """A number of seconds was shown as it was when the wait began, for five minutes."""
    retry = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    retry.attempt_number, retry.upcoming_sleep = 1, 300.0

    assert retries.next_step(retry, 1_700_000_000.0) == "try 2 at 2023-11-14 22:18:20 UTC"
