"""A memory under an endless stream: bounded, ordered, and answering from real tokens only."""

from __future__ import annotations

import pytest
import torch

from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig, PolicyName, Reindexing
from models.llava_onevision import LlavaOnevision
from models.memory_writer import InvalidBudget, MemoryWriter
from models.slot_cache import SlotCache
from ops import rope
from tests.conftest import TOKENS_PER_FRAME, assert_same, contents, feed, new_memory, random_frames


def small(model: LlavaOnevision, **bounds: object) -> MemoryWriter:
    config = MemoryConfig(**({"tokens_per_layer": 64, "recent_frames": 2} | bounds))  # type: ignore[arg-type]
    return MemoryWriter(model, config, max_frames=4, reserve=128)


@pytest.mark.parametrize("policy", list(PolicyName))
def test_any_number_of_clips_takes_the_same_room(model: LlavaOnevision, policy: str) -> None:
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


def test_the_recent_window_is_whole_in_every_layer(reader: MemoryWriter) -> None:
    held = new_memory(reader)
    feed(reader, held, random_frames(40))
    newest = list(range(36 * TOKENS_PER_FRAME, 40 * TOKENS_PER_FRAME))
    for layer in range(held.num_layers):
        assert held.remembered(layer).token_ids[-len(newest) :].tolist() == newest


def test_the_prefix_stays_to_the_bit(reader: MemoryWriter) -> None:
    held = new_memory(reader)
    before = [held.layer(layer).keys.clone() for layer in range(held.num_layers)]
    feed(reader, held, random_frames(60))
    for layer, keys in enumerate(before):
        assert torch.equal(held.layer(layer).keys[:, : held.prefix_length], keys)


def test_cached_keys_are_rotated_to_the_positions_they_claim(model: LlavaOnevision) -> None:
    """A renumbered memory answers like one that was numbered so from the start."""
    reader = small(model, tokens_per_layer=1_000)
    held = new_memory(reader)
    feed(reader, held, random_frames(8))
    fresh = contents(held)
    for layer in range(held.num_layers):
        held.remembered(layer).positions.add_(500)
        held.remembered(layer).keys.copy_(_turned(reader, held.remembered(layer).keys, 500))
    held.reindex(reader.frequency, room=2_000, longest_gap=1)
    for old, new in zip(fresh, contents(held), strict=True):
        assert torch.allclose(old.double(), new.double(), atol=1e-4)


def _turned(reader: MemoryWriter, keys: torch.Tensor, distance: int) -> torch.Tensor:
    return rope.rotate(keys, torch.full((keys.shape[1],), distance), reader.frequency)


def test_lazy_positions_are_left_alone_until_they_run_out(model: LlavaOnevision) -> None:
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


def test_eager_positions_have_no_gaps_after_a_compaction(model: LlavaOnevision) -> None:
    reader = small(model, reindexing=Reindexing.EAGER)
    held = new_memory(reader)
    feed(reader, held, random_frames(24))
    everywhere = torch.cat([held.layer(layer).positions for layer in range(held.num_layers)]).unique()
    assert everywhere.tolist() == list(range(held.next_position))


def test_a_budget_that_cannot_hold_the_window_is_refused(model: LlavaOnevision) -> None:
    with pytest.raises(InvalidBudget, match=r"tokens_per_layer is 60: 4 recent frames .* at least 66"):
        small(model, tokens_per_layer=60, recent_frames=4)


def test_a_budget_beyond_the_models_positions_is_refused(model: LlavaOnevision) -> None:
    with pytest.raises(InvalidBudget, match="positions of random end at"):
        small(model, tokens_per_layer=1_000_000)


def test_below_the_budget_compacting_is_a_no_op(reader: MemoryWriter) -> None:
    held = new_memory(reader)
    feed(reader, held, random_frames(8))
    before, position = contents(held), held.next_position
    reader.compact([held])
    assert_same(before, contents(held))
    assert held.next_position == position


def some_passed(num_frames: int, seed: int = 0) -> torch.Tensor:
    """A few tokens of each frame. bool [F, P]"""
    generator = torch.Generator().manual_seed(seed)
    passed = torch.rand(num_frames, TOKENS_PER_FRAME, generator=generator) < 0.2
    passed[:, 3] = True
    return passed


def feed_passed(reader: MemoryWriter, held: Memory, frames: torch.Tensor, passed: torch.Tensor) -> None:
    """Feeds what passed of frames half a second apart, four at a time."""
    times = torch.arange(len(frames), dtype=torch.float64)[None] / 2
    for start in range(0, len(frames), 4):
        step = slice(start, start + 4)
        reader.feed([held], frames[None, step], times[:, step], passed[step])


def test_a_frame_of_which_all_passes_is_read_as_if_there_were_no_gate(reader: MemoryWriter) -> None:
    held, gated, frames = new_memory(reader), new_memory(reader), random_frames(20)

    feed(reader, held, frames)
    feed_passed(reader, gated, frames, torch.ones(20, TOKENS_PER_FRAME, dtype=torch.bool))

    assert_same(contents(held), contents(gated))


def test_frames_of_which_nothing_passes_leave_no_trace(reader: MemoryWriter) -> None:
    held, frames = new_memory(reader), random_frames(8)
    feed(reader, held, frames)
    before, frame, position = contents(held), held.next_frame, held.next_position

    feed_passed(reader, held, frames, torch.zeros(8, TOKENS_PER_FRAME, dtype=torch.bool))

    assert_same(before, contents(held))
    assert (held.next_frame, held.next_position) == (frame, position)


def test_tokens_that_pass_say_their_frame_and_cell_and_stand_where_they_would(reader: MemoryWriter) -> None:
    """A frame that is not read takes neither a number nor positions."""
    held, passed = new_memory(reader), some_passed(4)
    passed[1] = False
    feed_passed(reader, held, random_frames(4), passed)

    kept = passed[[0, 2, 3]].flatten().nonzero().squeeze(1)
    for layer in range(held.num_layers):
        tokens = held.remembered(layer)
        assert torch.equal(tokens.token_ids, kept)
        assert torch.equal(tokens.positions, held.prefix_length + kept)
        assert torch.equal(tokens.times_s, torch.tensor([0.0, 1.0, 1.5]).double()[kept // TOKENS_PER_FRAME])
    assert held.next_frame == 3


def test_a_token_that_passes_sees_the_others_and_nothing_that_did_not(model: LlavaOnevision) -> None:
    """The plain reference: the same tokens in one pass of the decoder, each at its place."""
    reader = small(model)
    held, frames, passed = new_memory(reader), random_frames(2), some_passed(2)
    feed_passed(reader, held, frames, passed)

    plain = new_memory(reader)
    kept = passed.flatten().nonzero().squeeze(1)
    for place in kept.tolist():
        token = model.embed_frames(frames).flatten(0, 1)[None, place : place + 1]
        offset = torch.tensor([place])
        model.decode(token, SlotCache([plain], 1, offsets=offset + held.prefix_length - plain.next_position))
        plain.commit(offset, torch.zeros(1).double(), offset + plain.prefix_length - plain.next_position)

    for layer in range(held.num_layers):
        assert torch.allclose(held.remembered(layer).keys, plain.remembered(layer).keys, atol=1e-4)
        assert torch.equal(held.remembered(layer).positions, plain.remembered(layer).positions)


@pytest.mark.parametrize("policy", list(PolicyName))
def test_a_gated_memory_stays_in_bounds_and_in_order(model: LlavaOnevision, policy: str) -> None:
    reader = small(model, policy=policy)
    held, frames = new_memory(reader), random_frames(4)
    for clip in range(150):
        times = (torch.arange(4.0)[None] + 4 * clip).double()
        reader.feed([held], frames[None], times, some_passed(4, seed=clip))
        for layer in range(held.num_layers):
            tokens = held.remembered(layer)
            assert len(tokens) <= 64
            assert bool((tokens.positions.diff() >= 0).all())
            assert int(tokens.token_ids.max()) < held.next_frame * TOKENS_PER_FRAME
    assert held.next_position <= model.spec.max_positions - 128
