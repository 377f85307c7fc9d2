"""What frames take on a device, part by part: so long a question may wait."""

from __future__ import annotations

from pipeline.device import running_mean
from pipeline.device.scheduler import Work


class StepCosts:
    """Seconds that a token of whole frames takes in each part of a step, see `running_mean.peak`; 0 until measured."""

    def __init__(self) -> None:
        self._token_s = dict.fromkeys((Work.ENCODE, Work.APPEND, Work.COMPACT), 0.0)

    def of(self, part: Work) -> float:
        """In this part."""
        return self._token_s[part]

    @property
    def slowest(self) -> float:
        """In the slowest part."""
        return max(self._token_s.values())

    def note(self, part: Work, num_tokens: int, seconds: float) -> None:
        """Takes into account what this part of some steps took; nothing where they had no token."""
        if num_tokens:
            self._token_s[part] = running_mean.peak(self._token_s[part], seconds / num_tokens)
