"""What a frame takes is timed by steps of noise: on a slow device by one short step alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from torch import Tensor

from cache_store.memory import Memory
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline.device import frame_timing
from tests.conftest import new_memory
from tests.pipeline.device.engine_driver import MEMORY


class TimedWriter(MemoryWriter):
    """A writer whose clock moves on by so many seconds for each frame that it appends, faster from step to step."""

    def __init__(self, model: LlavaOnevision, frame_s: float) -> None:
        super().__init__(model, MEMORY, max_frames=8, reserve=128)
        self.now_s = 0.0
        self.steps: list[int] = []
        self._frame_s = frame_s

    def append(
        self,
        memories: Sequence[Memory],
        frames: Iterable[Tensor],
        times_s: Iterable[Tensor],
        admitted: Iterable[Tensor | None] | None = None,
    ) -> list[list[int]]:
        self.steps.append(sum(len(step) for step in frames))
        self.now_s += self._frame_s * self.steps[-1]
        self._frame_s /= 2
        return super().append(memories, frames, times_s, admitted)


@pytest.mark.parametrize(
    ("frame_s", "steps", "expected_s"),
    [
        pytest.param(0.08, [1, 8, 8], 0.02, id="fast: two steps of full length, the fastest counts"),
        pytest.param(0.2, [1], 0.2, id="slow: a step of full length would take longer than a second"),
    ],
)
def test_a_frame_is_timed(model: LlavaOnevision, frame_s: float, steps: list[int], expected_s: float) -> None:
    writer = TimedWriter(model, frame_s)

    found = frame_timing.seconds_per_frame(writer, new_memory(writer), clock=lambda: writer.now_s)

    assert found == pytest.approx(expected_s)
    assert writer.steps == steps
