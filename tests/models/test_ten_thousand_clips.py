"""A stream without end: after HERMES_CLIPS=10000 clips order, positions, keys and bytes are what they must be."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from benchmarks.on_device import checkpoints
from cache_store import checkpoint_codec, token_ids
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig, PolicyName
from models import frame_encoder
from models.memory_writer import MemoryWriter
from tests.models.families import FAMILIES
from tests.models.test_families import rotated_by_transformers

CLIPS = int(os.environ.get("HERMES_CLIPS", "1000"))  # 10000 takes a minute or two a family
BUDGET = 60


class FirstFrameFirst:
    """Scores the cells of the first frame highest, everything else by chance: no pass of the decoder is needed."""

    num_positions = num_tokens = 0

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def score(self, memories: Sequence[Memory]) -> list[list[Tensor]]:
        return [[self._of(memory, layer) for layer in range(memory.num_layers)] for memory in memories]

    def _of(self, memory: Memory, layer: int) -> Tensor:
        ids = memory.after_prefix(layer).token_ids
        chance = torch.rand(len(ids), generator=self._generator)
        return torch.where(token_ids.is_cell(ids) & (token_ids.frames_of(ids) == 0), 2.0, chance)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(FAMILIES))
@torch.inference_mode()
def test_ten_thousand_clips(name: str) -> None:
    family = FAMILIES[name]()
    model, positions = family.model, family.model.spec.kv.positions
    config = MemoryConfig(tokens_per_layer=BUDGET, recent_frames=2, policy=PolicyName.QUESTIONS)
    writer = MemoryWriter(model, config, max_frames=2, reserve=64, scorer=FirstFrameFirst())
    writer.max_position = writer.capacity + 100  # so that positions run out often
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    height, width = (family.height, family.width) if model.spec.layout.side else (16, 32)
    encoded = frame_encoder.encode(model, [family.frames(2)[:, :height, :width]])  # the same cells in every clip
    nbytes, written, reindexed, groups = memory.slabs.nbytes, set[int](), 0, model.spec.layout.num_groups(2)
    raw = None

    for clip in range(CLIPS):
        before, compactions = memory.next_position, memory.compactions
        writer.prefill([memory], encoded, torch.tensor([[clip, clip + 0.5]], dtype=torch.float64))
        if raw is None:
            first = memory.after_prefix(memory.num_layers - 1).map(lambda tensor, _: tensor.clone())
            raw = positions.rotate(first.keys, -positions.coordinates(first.positions, first.token_ids))
            first_ids = first.token_ids
        reindexed += memory.next_position < before
        assert memory.longest <= writer.capacity
        assert memory.next_position <= writer.max_position
        if clip % 500 == 499:
            require_order(memory)
        if memory.compactions > compactions and clip >= CLIPS // 2:  # as many tokens as after every compaction
            written.add(checkpoint_nbytes(memory))

    assert memory.next_frame == CLIPS * groups
    assert memory.compactions > CLIPS / 5
    assert reindexed > CLIPS / 100
    assert memory.slabs.nbytes == nbytes == model.spec.kv.footprint.slot_nbytes(writer.capacity)
    assert max(written) <= 1.02 * min(written)  # the digits of its facts
    require_exact_keys(family.model, memory, raw, first_ids)


def require_order(memory: Memory) -> None:
    for layer in range(memory.num_layers):
        tokens = memory.after_prefix(layer)
        assert bool((tokens.positions.diff() >= 0).all())
        ids = tokens.token_ids[tokens.token_ids >= 0]
        assert bool((token_ids.frames_of(ids).diff() >= 0).all())
        assert len(ids.unique()) == len(ids)
        assert int(token_ids.frames_of(ids[-1:])) == memory.next_frame - 1
        assert bool((tokens.times_s[tokens.token_ids >= 0].diff() >= 0).all())


def require_exact_keys(model: object, memory: Memory, raw: Tensor | None, first_ids: Tensor) -> None:
    """The keys of the first frame, which moved hundreds of times, are those that the decoder rotates there."""
    layer = memory.num_layers - 1
    now = memory.after_prefix(layer)
    kept = [index for index, id in enumerate(now.token_ids.tolist()) if id in set(first_ids.tolist())]
    assert raw is not None
    assert kept
    was = [int((first_ids == now.token_ids[index]).nonzero()) for index in kept]
    coordinates = memory.slabs.shape.positions.coordinates(now.positions[kept], now.token_ids[kept])
    expected = rotated_by_transformers(model, raw[:, was], coordinates)  # type: ignore[arg-type]
    found = memory.keys(layer)[:, memory.prefix_length :][:, kept]
    assert torch.allclose(found, expected, atol=1e-4)


def checkpoint_nbytes(memory: Memory) -> int:
    return sum(map(len, checkpoint_codec.encode(checkpoints.whole(memory))))
