"""A step of frames on its way into a memory, part by part: gate and thumbnails, vision encoder, prefill, compaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.memory import Memory
from models import frame_encoder
from models.frame_encoder import FrameStep
from models.frame_layout import FrameLayout
from models.memory_writer import MemoryWriter
from ops.device_timer import DeviceTimer
from pipeline.decoding import images
from pipeline.device.change_gate import ChangeGate
from pipeline.sources.clips import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStep:
    """A step of frames of one camera that its gate has judged.

    num_read, num_skipped: the cells of its groups of frames that pass, and the others. groups_s: the times of each
    group. jpegs: of each group, None where nothing passes. seconds: spent on it so far.
    """

    memory: Memory
    clip: Clip
    frames: Tensor
    admitted: Tensor
    num_read: int
    num_skipped: int
    groups_s: tuple[tuple[float, ...], ...]
    jpegs: tuple[bytes | None, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class EncodedStep:
    """A step of frames whose cells that pass are encoded. step: None if none passes. timer: of its whole batch."""

    prepared: PreparedStep
    step: FrameStep | None
    timer: DeviceTimer
    batch_size: int

    @property
    def seconds(self) -> float:
        """Spent on encoding it. Waits until a GPU has done so, which it has as soon as the step is appended."""
        return self.timer.seconds / self.batch_size


@dataclass(frozen=True, slots=True)
class Appended:
    """What appending a step took. group_sizes: see `MemoryWriter.append`. upkeep_s: part of the seconds.

    has_room: whether the memory has room for one more step like this one; else it is to be compacted.
    """

    group_sizes: list[int]
    seconds: float
    upkeep_s: float
    has_room: bool


def prepare(memory: Memory, gate: ChangeGate, layout: FrameLayout, clip: Clip) -> PreparedStep:
    """Judges a clip of at most `max_frames` frames; the gate takes what it lets pass for appended."""
    began_s = time.perf_counter()
    frames = torch.as_tensor(clip.frames)
    admitted = gate.admit(frames, clip.times_s)
    by_group = layout.by_group(admitted)
    size = layout.frames_per_group
    groups = [slice(start, start + size) for start in range(0, len(clip.times_s), size)]
    jpegs = tuple(
        images.encode_jpeg(clip.previews[group][-1]) if passes else None
        for group, passes in zip(groups, by_group.any(dim=1).tolist(), strict=True)
    )
    num_read = int(by_group.sum())
    return PreparedStep(
        memory=memory,
        clip=clip,
        frames=frames,
        admitted=admitted,
        num_read=num_read,
        num_skipped=by_group.numel() - num_read,
        groups_s=tuple(clip.times_s[group] for group in groups),
        jpegs=jpegs,
        seconds=time.perf_counter() - began_s,
    )


def encode(writer: MemoryWriter, steps: Sequence[PreparedStep]) -> list[EncodedStep]:
    """Encodes what passes of several cameras' steps as one batch; the time is divided among them.

    Does not wait for a GPU.
    """
    timer = DeviceTimer(writer.model.spec.device)
    encoded = frame_encoder.steps(
        writer.model,
        [step.memory for step in steps],
        [step.frames for step in steps],
        [torch.tensor(step.clip.times_s, dtype=torch.float64) for step in steps],
        [step.admitted for step in steps],
    )
    timer.stop()
    return [EncodedStep(prepared, step, timer, len(steps)) for prepared, step in zip(steps, encoded, strict=True)]


def append(writer: MemoryWriter, steps: Sequence[EncodedStep]) -> list[Appended]:
    """Appends steps of several cameras as one batch; the time is divided among them. See `MemoryWriter.prefill_steps`.

    If it raises, whatever it raises, no memory has any of the frames.
    """
    # A GPU may still be encoding these steps.
    timer, upkeep_before_s = DeviceTimer(writer.model.spec.device), writer.upkeep_s
    present = [(one.prepared.memory, one.step) for one in steps if one.step is not None]
    if present:
        writer.prefill_steps([memory for memory, _ in present], [step for _, step in present])
    timer.stop()
    seconds = timer.seconds / len(steps)
    upkeep_s = (writer.upkeep_s - upkeep_before_s) / len(steps)
    return [
        Appended(
            one.step.group_sizes if one.step is not None else [],
            seconds,
            upkeep_s,
            one.step is None or writer.has_room(one.prepared.memory, one.step),
        )
        for one in steps
    ]


def compact(writer: MemoryWriter, memories: Sequence[Memory]) -> list[float]:
    """Compacts memories in one call. Seconds for each: the time is divided among them."""
    began_s = time.perf_counter()
    writer.compact(memories)
    return [(time.perf_counter() - began_s) / len(memories)] * len(memories)
