"""Frames whose job fails at any point are in the memory and noted, or neither."""

from __future__ import annotations

import contextlib

from models.memory_writer import MemoryWriter
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate
from tests.conftest import grid, new_memory
from tests.pipeline.device.engine_driver import clip
from tests.pipeline.device.faults import Faults

NEVER = 1 << 40


def new_camera(writer: MemoryWriter) -> CameraMemory:
    gate = OpenGate(grid)
    return CameraMemory("lobby", new_memory(writer), writer, gate, gap_after_s=3.0, started_s=0.0)


def test_frames_are_in_the_memory_and_noted_or_neither_wherever_their_job_fails(writer: MemoryWriter) -> None:
    """A failure right after they were appended left them in the memory, and called the same frames a gap."""
    camera = new_camera(writer)
    for number in range(10):
        camera.append(clip("lobby", 1_000.0 + 2 * number, seed=number))
    saved = camera.snapshot(0, 0.0, is_whole=True)
    one_more = clip("lobby", 1_020.0, seed=10)

    def append_one_more(fails_after: int) -> tuple[CameraMemory, int]:
        """The camera then, and how many operations came before the fault."""
        restored = new_camera(writer)
        restored.restore(saved)
        with Faults() as faults, contextlib.suppress(MemoryError):
            faults.fail_after(fails_after, MemoryError())
            restored.append(one_more)
        restored.lose(one_more)
        return restored, faults.num_operations

    _, usual = append_one_more(NEVER)
    for fails_after in (*range(0, usual - 40, 307), *range(usual - 40, usual)):
        restored, _ = append_one_more(fails_after)
        is_in_memory = restored.memory.next_frame == 44
        assert (restored.frames_seen == 44) == is_in_memory, f"after {fails_after} of {usual} operations"
        assert (restored.gaps[-1].end_s == 1_020.0) == is_in_memory
