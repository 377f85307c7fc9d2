"""How long a frame takes on a device, timed before any camera has one."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from cache_store.memory import Memory
from models.memory_writer import MemoryWriter

_TIMED_STEPS = 2  # of full length; the fastest counts
_LONGEST_STEP_S = 1.0


def seconds_per_frame(writer: MemoryWriter, memory: Memory, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that a whole frame takes: of steps of noise, before each of which the memory is reset.

    The first step is of one group of frames. Steps of full length follow, unless they would take longer than a second.
    """
    num_frames = min(writer.model.spec.layout.frames_per_group, writer.max_frames)
    seconds = _seconds_of_step(writer, memory, num_frames, clock) / num_frames
    for _ in range(_TIMED_STEPS):
        if seconds * writer.max_frames > _LONGEST_STEP_S:
            break
        seconds = min(seconds, _seconds_of_step(writer, memory, writer.max_frames, clock) / writer.max_frames)
    return seconds


def _seconds_of_step(writer: MemoryWriter, memory: Memory, num_frames: int, clock: Callable[[], float]) -> float:
    side, device = writer.model.spec.layout.square, writer.model.spec.device
    frames = torch.randint(0, 256, (1, num_frames, side, side, 3), dtype=torch.uint8)
    times_s = torch.arange(num_frames, dtype=torch.float64)[None]
    writer.reset(memory)
    began_s = clock()
    writer.append([memory], frames, times_s)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began_s
