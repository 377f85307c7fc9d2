"""Bounds how often something happens. Plain rules without a clock."""

from __future__ import annotations


class TokenBucket:
    """Allows `per_s` times a second on average, and `burst` times at once."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left = burst
        self._now_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether it may happen once more; counts it if so."""
        passed_s = 0.0 if self._now_s is None else max(0.0, now_s - self._now_s)
        self._now_s = now_s
        self._left = min(self._burst, self._left + passed_s * self._per_s)
        if self._left < 1:
            return False
        self._left -= 1
        return True
