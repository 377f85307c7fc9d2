"""The log of the training: means over its latest steps."""

import time
from collections import defaultdict

from models.tiny.training.losses import Outcome

_LOG_EVERY_S = 20.0


class Tally:
    """Means since the last line of the log."""

    def __init__(self) -> None:
        self._right: dict[str, list[bool]] = defaultdict(list)
        self._losses: list[float] = []
        self._cell_losses: list[float] = []
        self._event_losses: list[float] = []
        self._since = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        self._losses.append(outcome.loss.item())
        self._cell_losses.append(outcome.cell_loss)
        self._event_losses.append(outcome.event_loss)
        for type_, right in outcome.right.items():
            self._right[type_] += right

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._since > _LOG_EVERY_S

    def line(self) -> str:
        means = {type_: sum(right) / len(right) for type_, right in sorted(self._right.items())}
        overall = sum(means.values()) / len(means) if means else 0.0
        steps = len(self._losses)
        rate = steps / (time.monotonic() - self._since)
        parts = [f"{rate:.2f} steps/s", f"loss {sum(self._losses) / steps:.3f}"]
        parts += [f"cells {sum(self._cell_losses) / steps:.3f}", f"events {sum(self._event_losses) / steps:.3f}"]
        parts += [f"mean {overall:.3f}"]
        return " ".join(parts + [f"{type_} {mean:.2f}" for type_, mean in means.items()])
