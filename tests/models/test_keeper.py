"""A memory under an endless stream: bounded, ordered, and answering from real tokens only."""

from __future__ import annotations

import pytest
import torch

from cache_store import tiers
from models import keeper, llava_onevision
from ops import rope
from tests.conftest import TOKENS_PER_FRAME, assert_same, contents, feed, new_memory, random_frames


def small(model: llava_onevision.LlavaOnevision, **bounds: object) -> keeper.Keeper:
    config = tiers.MemoryConfig(**({"tokens_per_layer": 64, "recent_frames": 2} | bounds))  # type: ignore[arg-type]
    return keeper.Keeper(model, config, max_frames=4, reserve=128)


@pytest.mark.parametrize("policy", list(tiers.PolicyName))
def test_any_number_of_clips_takes_the_same_room(model: llava_onevision.LlavaOnevision, policy: str) -> None:
    """Slots, positions and provenance stay in bounds, past several renumberings of the positions."""
    reader = small(model, policy=policy)
    held, frames = new_memory(reader), random_frames(4)
    nbytes, prefix = held.slabs.nbytes, [part[..., : held.prefix_length].clone() for part in contents(held)[2::6]]
    highest, renumbered = 0, 0
    for clip in range(200):
        before = held.next_position
        reader.feed([held], frames[None], (torch.arange(4.0)[None] + 4 * clip).double())
        renumbered += held.next_position < before
        highest = max(highest, held.next_position)
    assert held.slabs.nbytes == nbytes
    assert held.lengths == [held.prefix_length + 64] * held.num_layers
    assert renumbered >= 2
    assert highest <= model.spec.max_positions - 128
    for layer, positions in enumerate(prefix):
        tokens = held.remembered(layer)
        real = tokens.token_ids >= 0
        assert torch.equal(held.layer(layer).positions[: held.prefix_length], positions)
        assert bool((tokens.token_ids[real].diff() > 0).all())
        assert bool((tokens.times_s[real].diff() >= 0).all())
        assert int(tokens.token_ids.max()) == 200 * 4 * TOKENS_PER_FRAME - 1


def test_the_recent_window_is_whole_in_every_layer(reader: keeper.Keeper) -> None:
    held = new_memory(reader)
    feed(reader, held, random_frames(40))
    newest = list(range(36 * TOKENS_PER_FRAME, 40 * TOKENS_PER_FRAME))
    for layer in range(held.num_layers):
        assert held.remembered(layer).token_ids[-len(newest) :].tolist() == newest


def test_the_prefix_stays_to_the_bit(reader: keeper.Keeper) -> None:
    held = new_memory(reader)
    before = [held.layer(layer).keys.clone() for layer in range(held.num_layers)]
    feed(reader, held, random_frames(60))
    for layer, keys in enumerate(before):
        assert torch.equal(held.layer(layer).keys[:, : held.prefix_length], keys)


def test_cached_keys_are_rotated_to_the_positions_they_claim(model: llava_onevision.LlavaOnevision) -> None:
    """A renumbered memory answers like one that was numbered so from the start."""
    reader = small(model, tokens_per_layer=1_000)
    held = new_memory(reader)
    feed(reader, held, random_frames(8))
    fresh = contents(held)
    for layer in range(held.num_layers):
        held.remembered(layer).positions.add_(500)
        held.remembered(layer).keys.copy_(_turned(reader, held.remembered(layer).keys, 500))
    held.close_up(reader.frequency, room=2_000, longest_gap=1)
    for old, new in zip(fresh, contents(held), strict=True):
        assert torch.allclose(old.double(), new.double(), atol=1e-4)


def _turned(reader: keeper.Keeper, keys: torch.Tensor, distance: int) -> torch.Tensor:
    return rope.rotate(keys, torch.full((keys.shape[1],), distance), reader.frequency)


def test_lazy_positions_are_left_alone_until_they_run_out(model: llava_onevision.LlavaOnevision) -> None:
    reader = small(model)
    held, frames = new_memory(reader), random_frames(4)
    limit = model.spec.max_positions - 128
    while held.next_position + 4 * TOKENS_PER_FRAME <= limit:
        before = [held.remembered(layer).positions.tolist() for layer in range(held.num_layers)]
        feed(reader, held, frames)
        real = held.remembered(2).positions[held.remembered(2).token_ids >= 0].tolist()
        assert set(real) - set(before[2]) <= set(range(held.next_position - 64, held.next_position))
    feed(reader, held, frames)
    assert held.next_position <= 0.75 * limit + 4 * TOKENS_PER_FRAME


def test_eager_positions_have_no_gaps_after_a_compaction(model: llava_onevision.LlavaOnevision) -> None:
    reader = small(model, reindexing=tiers.Reindexing.EAGER)
    held = new_memory(reader)
    feed(reader, held, random_frames(24))
    everywhere = torch.cat([held.layer(layer).positions for layer in range(held.num_layers)]).unique()
    assert everywhere.tolist() == list(range(held.next_position))


def test_a_budget_that_cannot_hold_the_window_is_refused(model: llava_onevision.LlavaOnevision) -> None:
    with pytest.raises(keeper.InvalidBudget, match=r"tokens_per_layer is 60: 4 recent frames .* at least 66"):
        small(model, tokens_per_layer=60, recent_frames=4)


def test_a_budget_beyond_the_models_positions_is_refused(model: llava_onevision.LlavaOnevision) -> None:
    with pytest.raises(keeper.InvalidBudget, match="positions of random end at"):
        small(model, tokens_per_layer=1_000_000)


def test_below_the_budget_compacting_is_a_no_op(reader: keeper.Keeper) -> None:
    held = new_memory(reader)
    feed(reader, held, random_frames(8))
    before, position = contents(held), held.next_position
    reader.compact([held])
    assert_same(before, contents(held))
    assert held.next_position == position
