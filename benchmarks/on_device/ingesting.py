"""What a step of frames takes, part by part, beside the same passes of the bare model."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.on_device import full_memories, pairs
from benchmarks.on_device.bare_forward import BareForward
from benchmarks.on_device.pairs import Pair
from cache_store.memory import Memory
from models import frame_encoder
from models.embeddings import Embeddings
from models.frame_encoder import EncodedFrames
from models.memory_writer import MemoryWriter

_STEPS_UNMEASURED = 1


@dataclass(frozen=True, slots=True)
class IngestTimes:
    """Of steps over memories that are full: each step's seconds, in order. decoder: prefill, scoring and compaction.

    tokens: of all memories in one step.
    """

    vision_s: tuple[float, ...]
    decoder_s: tuple[float, ...]
    upkeep_s: tuple[float, ...]
    bare_decoder_s: tuple[float, ...]
    tokens: int

    @property
    def decoder_over_bare(self) -> float:
        """Over all steps together: a compaction may be due in some of them only."""
        return sum(self.decoder_s) / sum(self.bare_decoder_s)

    @property
    def upkeep_share(self) -> float:
        """Of the whole ingest, vision included."""
        return sum(self.upkeep_s) / (sum(self.decoder_s) + sum(self.vision_s))

    @property
    def step_s(self) -> float:
        """One step in the mean, vision and upkeep included."""
        return statistics.fmean(self.vision_s) + statistics.fmean(self.decoder_s)


def parts(
    writer: MemoryWriter, bare: BareForward, memories: Sequence[Memory], num_frames: int, steps: int
) -> IngestTimes:
    """Steps of so many frames of each memory. The vision encoder runs on noise, the decoder on other noise."""
    model, layout = writer.model, writer.model.spec.layout
    rows, columns = layout.grid(*full_memories.frame_size(model))
    num_tokens = len(layout.tokens(full_memories.times_s(model, memories[0], num_frames).tolist(), 0.0, rows, columns))
    num_cells = layout.num_groups(num_frames) * rows * columns
    frames = full_memories.noise_frames(model, len(memories), num_frames)
    depth = len(frame_encoder.encode(model, frames[:1])[0].cells.deep)
    timed: list[tuple[float, float, float, float]] = []
    for step in range(_STEPS_UNMEASURED + steps):
        cache = bare.cache_of(memories)
        noise = bare.noise(len(memories), num_cells)
        encoded = [EncodedFrames(Embeddings(cells, (cells,) * depth), rows, columns) for cells in noise]
        times_s = torch.stack([full_memories.times_s(model, memory, num_frames) for memory in memories])
        upkeep_before_s, appended = writer.upkeep_s, bare.noise(len(memories), num_tokens)
        seconds = (
            pairs.seconds(lambda: frame_encoder.encode(model, frames)),
            pairs.seconds(lambda: writer.prefill(memories, encoded, times_s)),  # noqa: B023 - called at once
            writer.upkeep_s - upkeep_before_s,
            pairs.seconds(lambda: bare.append(cache, appended)),  # noqa: B023 - called at once
        )
        if step >= _STEPS_UNMEASURED:
            timed.append(seconds)
    vision_s, decoder_s, upkeep_s, bare_s = (tuple(column) for column in zip(*timed, strict=True))
    return IngestTimes(vision_s, decoder_s, upkeep_s, bare_s, len(memories) * num_tokens)


def whole(writer: MemoryWriter, bare: BareForward, memories: Sequence[Memory], num_frames: int, steps: int) -> Pair:
    """A whole step of so many frames of each memory as one batch, beside the bare vision encoder and decoder.

    Timed together are as many steps as a slot has room for beside its budget, so that each time has one compaction.
    """
    model, steps_of_round = writer.model, writer.max_frames // num_frames
    timed: list[tuple[float, float]] = []
    groups = model.spec.layout.group(full_memories.noise_frames(model, len(memories), num_frames)).flatten(0, 1)
    for _ in range(steps_of_round * (1 + steps)):
        cache = bare.cache_of(memories)
        frames = full_memories.noise_frames(model, len(memories), num_frames)
        times_s = torch.stack([full_memories.times_s(model, memory, num_frames) for memory in memories])
        ours_s = pairs.seconds(lambda: writer.append(memories, frames, times_s))  # noqa: B023 - called at once
        appended = bare.noise(len(memories), model.spec.layout.max_tokens(num_frames))
        bare_s = pairs.seconds(lambda: (model.embed_frames(groups), bare.append(cache, appended)))  # noqa: B023
        timed.append((ours_s, bare_s))
    rounds = range(steps_of_round, len(timed), steps_of_round)
    sums = [[sum(column) for column in zip(*timed[first : first + steps_of_round], strict=True)] for first in rounds]
    return pairs.of([(ours_s, bare_s) for ours_s, bare_s in sums])
