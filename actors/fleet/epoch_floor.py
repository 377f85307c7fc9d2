"""The epoch that a new owner's must be above, whatever the store has lost."""

from __future__ import annotations

import math


class EpochFloor:
    """Not below any epoch that an owner has, seen here or not.

    Epochs are the store's time in milliseconds. An owner that no server reaches may have got one since the newest was
    seen, and then the store loses its data and its clock is set back. So the floor rises with the time since then.
    """

    def __init__(self) -> None:
        self._zero_ms = -math.inf  # the epoch that an owner would have got at time 0

    def observe(self, epoch: int, now_s: float) -> None:
        """Takes an epoch into account that an owner has now, 0 if it has none; now_s: monotonic, as for `at`."""
        if epoch:
            self._zero_ms = max(self._zero_ms, epoch - 1_000.0 * now_s)

    def at(self, now_s: float) -> int:
        """The floor at this time; 0 if no epoch was seen."""
        return math.ceil(self._zero_ms + 1_000.0 * now_s) if math.isfinite(self._zero_ms) else 0
