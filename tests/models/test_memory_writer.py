"""A memory under an endless stream stays bounded and ordered, and its keys match its positions."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cache_store import checkpoint_codec, policies, reindexing
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from cache_store.policies import MemoryView, Policy, Retention
from cache_store.tiers import MemoryConfig, PolicyName, Role
from models import memory_restorer
from models.embeddings import Embeddings
from models.errors import InvalidBudget
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_cache import SlotCache
from ops import rope
from tests.cache_store.test_checkpoint import FACTS
from tests.conftest import TOKENS_PER_FRAME, append_frames, assert_same, contents, new_memory, numbered, random_frames

EVERY_ID = 1 << 40
CLIPS = 140  # enough for several reindexings


def small(model: LlavaOnevision, **bounds: object) -> MemoryWriter:
    config = MemoryConfig(**({"tokens_per_layer": 64, "recent_frames": 2} | bounds))  # type: ignore[arg-type]
    return MemoryWriter(model, config, max_frames=4, reserve=128)


@pytest.mark.parametrize("policy", list(PolicyName))
def test_any_number_of_clips_takes_the_same_bytes(model: LlavaOnevision, policy: str) -> None:
    """Tokens, positions, frames and times stay in bounds, also after several reindexings."""
    writer = small(model, policy=policy)
    memory, frames = new_memory(writer), random_frames(4)
    nbytes, prefix = memory.slabs.nbytes, [part[..., : memory.prefix_length].clone() for part in contents(memory)[2::7]]
    highest, reindexings = 0, 0
    for clip in range(CLIPS):
        before = memory.next_position
        writer.append([memory], frames[None], (torch.arange(4.0)[None] + 4 * clip).double())
        reindexings += memory.next_position < before
        highest = max(highest, memory.next_position)
    assert memory.slabs.nbytes == nbytes
    assert memory.lengths == [memory.prefix_length + 64] * memory.num_layers
    assert reindexings >= 2
    assert highest <= model.spec.max_positions - 128
    for layer, positions in enumerate(prefix):
        tokens = memory.after_prefix(layer)
        real = numbered(tokens.token_ids) >= 0
        assert torch.equal(memory.layer(layer).positions[: memory.prefix_length], positions)
        assert bool((numbered(tokens.token_ids)[real].diff() > 0).all())
        assert bool((tokens.times_s[real].diff() >= 0).all())
        if writer.policy.keeps_window or writer.plans[layer].role is Role.SENSORY:
            assert int(numbered(tokens.token_ids).max()) == CLIPS * 4 * TOKENS_PER_FRAME - 1


def test_the_recent_window_is_whole_in_every_layer(writer: MemoryWriter) -> None:
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(40))
    newest = list(range(36 * TOKENS_PER_FRAME, 40 * TOKENS_PER_FRAME))
    for layer in range(memory.num_layers):
        assert numbered(memory.after_prefix(layer).token_ids)[-len(newest) :].tolist() == newest


def test_the_prefix_never_changes(writer: MemoryWriter) -> None:
    memory = new_memory(writer)
    before = [memory.layer(layer).keys.clone() for layer in range(memory.num_layers)]
    append_frames(writer, memory, random_frames(60))
    for layer, keys in enumerate(before):
        assert torch.equal(memory.layer(layer).keys[:, : memory.prefix_length], keys)


def test_cached_keys_are_rotated_to_their_positions(model: LlavaOnevision) -> None:
    """A reindexed memory equals one that had these positions from the start."""
    writer = small(model, tokens_per_layer=1_000)
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(8))
    fresh = contents(memory)
    for layer in range(memory.num_layers):
        memory.after_prefix(layer).positions.add_(500)
        memory.after_prefix(layer).keys.copy_(_rotated(memory, memory.after_prefix(layer).keys, 500))
    reindexing.reindex(memory, max_span=2_000, max_gap=1)
    copy = new_memory(writer)
    copy.copy_from(memory)
    for old, new in zip(fresh, contents(copy), strict=True):
        assert torch.allclose(old.double(), new.double(), atol=1e-4)


def _rotated(memory: Memory, keys: torch.Tensor, distance: int) -> torch.Tensor:
    return rope.rotate(keys, torch.full((keys.shape[1],), distance), memory.slabs.shape.positions.frequency)


def test_positions_change_only_when_they_run_out(model: LlavaOnevision) -> None:
    writer = small(model)
    memory, frames = new_memory(writer), random_frames(4)
    limit = model.spec.max_positions - 128
    while memory.next_position + 4 * TOKENS_PER_FRAME <= limit:
        before = [memory.after_prefix(layer).positions.tolist() for layer in range(memory.num_layers)]
        append_frames(writer, memory, frames)
        real = memory.after_prefix(2).positions[numbered(memory.after_prefix(2).token_ids) >= 0].tolist()
        assert set(real) - set(before[2]) <= set(range(memory.next_position - 64, memory.next_position))
    append_frames(writer, memory, frames)
    assert memory.next_position <= 0.75 * limit + 4 * TOKENS_PER_FRAME


def test_a_budget_that_cannot_hold_the_window_is_refused(model: LlavaOnevision) -> None:
    with pytest.raises(InvalidBudget, match=r"tokens_per_layer is 60: 4 recent frames .* at least 66"):
        small(model, tokens_per_layer=60, recent_frames=4)


def test_a_budget_of_the_window_and_two_tokens_is_held(model: LlavaOnevision) -> None:
    budget = 4 * TOKENS_PER_FRAME + 2
    writer = small(model, tokens_per_layer=budget, recent_frames=4)
    memory = new_memory(writer)

    append_frames(writer, memory, random_frames(40))

    newest = list(range(36 * TOKENS_PER_FRAME, 40 * TOKENS_PER_FRAME))
    for layer in range(memory.num_layers):
        tokens = memory.after_prefix(layer)
        assert len(tokens) == budget
        assert numbered(tokens.token_ids)[-len(newest) :].tolist() == newest
    with pytest.raises(InvalidBudget, match=rf"is {budget - 1}: .* at least {budget}"):
        small(model, tokens_per_layer=budget - 1, recent_frames=4)


def test_a_budget_beyond_the_models_positions_is_refused(model: LlavaOnevision) -> None:
    with pytest.raises(InvalidBudget, match="positions of random end at"):
        small(model, tokens_per_layer=1_000_000)


@pytest.mark.parametrize("is_gated", [False, True])
def test_closing_up_shares_no_position_and_leaves_the_recent_window_as_it_is(
    model: LlavaOnevision, is_gated: bool
) -> None:
    """1,000 tokens a layer below position 1,216: the layers keep different tokens, more than there are positions."""
    config, frames = MemoryConfig(tokens_per_layer=1_000), random_frames(8)
    writer = MemoryWriter(model, config, max_frames=8, reserve=model.spec.max_positions - 1_216)
    memory, reindexings, used = new_memory(writer), 0, 0
    for clip in range(24):
        admitted = some_admitted(8, seed=clip) if is_gated and clip > 9 else None
        before = memory.next_position
        writer.append([memory], frames[None], (torch.arange(8.0)[None] + 8 * clip).double(), [admitted])
        reindexings += memory.next_position < before + 1
        layers = [memory.after_prefix(layer) for layer in range(memory.num_layers)]
        used = max(used, len(torch.cat([tokens.positions for tokens in layers]).unique()))
        window = writer.first_recent_id(memory)
        for tokens in layers:
            assert bool((tokens.positions.diff() > 0).all())
            recent = tokens.token_ids >= window
            distances = tokens.positions[recent] - numbered(tokens.token_ids)[recent]
            assert is_gated or len(distances.unique()) == 1
            assert int(tokens.positions[-1]) < writer.max_position
        windows = [tokens.positions[tokens.token_ids >= window] for tokens in layers]
        assert all(torch.equal(other, windows[0]) for other in windows)
    assert reindexings >= 5
    assert used > 1_084


def test_a_budget_that_fits_only_without_its_recent_window_is_refused(model: LlavaOnevision) -> None:
    """A step of 128 tokens, a window of 64 and a prefix: 1,021 is one token too many below position 1,216."""
    prefix = len(model.prompts.prefix)
    budget, reserve = 1_216 - 128 - 64 - prefix, model.spec.max_positions - 1_216
    MemoryWriter(model, MemoryConfig(tokens_per_layer=budget), max_frames=8, reserve=reserve)

    with pytest.raises(InvalidBudget, match=rf"tokens_per_layer is {budget + 1}: .* 1217 positions.* end at 1216"):
        MemoryWriter(model, MemoryConfig(tokens_per_layer=budget + 1), max_frames=8, reserve=reserve)


def test_a_policy_without_a_window_sees_the_newest_frames_too_and_may_evict_them(model: LlavaOnevision) -> None:
    """Whatever `recent_frames` is: the whole budget is the policy's, down to two tokens."""
    seen: list[int] = []

    def oldest(view: MemoryView) -> list[Retention]:
        seen.extend(layer.budget for layer in view)
        return [Retention(torch.arange(layer.budget)) for layer in view]

    config = MemoryConfig(tokens_per_layer=2, recent_frames=4)
    writer = MemoryWriter(model, config, max_frames=4, reserve=128, policy=Policy(oldest, keeps_window=False))
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(8))

    assert set(seen) == {2}
    assert [numbered(memory.after_prefix(layer).token_ids).tolist() for layer in range(memory.num_layers)] == [
        [0, 1]
    ] * memory.num_layers


def test_below_the_budget_compacting_is_a_no_op(writer: MemoryWriter) -> None:
    memory = new_memory(writer)
    append_frames(writer, memory, random_frames(8))
    before, position = contents(memory), memory.next_position
    writer.compact([memory])
    assert_same(before, contents(memory))
    assert memory.next_position == position


@pytest.mark.parametrize("longest", [0, 2, -1])
def test_a_checkpoint_that_does_not_fit_is_restored_within_the_budget_whichever_layer_is_over_it(
    model: LlavaOnevision, longest: int
) -> None:
    """One layer was saved with three times the budget; the others had a quarter of it, as they were."""
    roomy, writer = small(model, tokens_per_layer=192), small(model, tokens_per_layer=64)
    source, restored = new_memory(roomy), new_memory(writer)
    append_frames(roomy, source, random_frames(20))
    first_recent_id = roomy.first_recent_id(source)
    layers = [
        tokens.slice(len(tokens) - 16, len(tokens)) for tokens in checkpoint_codec.capture(source, first_recent_id)
    ]
    layers[longest] = checkpoint_codec.capture(source, EVERY_ID)[longest]
    facts = dataclasses.replace(FACTS, next_position=source.next_position, next_frame=source.next_frame)

    memory_restorer.restore(writer, restored, Checkpoint(facts, tuple(layers), {}))

    whole = {longest % len(layers)}
    for index, saved in enumerate(layers):
        tokens = restored.after_prefix(index)
        assert len(tokens) == (64 if index in whole else 16)
        if index not in whole:
            assert torch.equal(tokens.token_ids, saved.token_ids)
    append_frames(writer, restored, random_frames(8), first_s=100.0)
    assert restored.longest == restored.prefix_length + 64


def test_a_checkpoint_that_fits_its_slot_is_restored_as_it_is(model: LlavaOnevision) -> None:
    """Two steps of eight cells have room beside the budget; the next step of frames needs it."""
    roomy, writer = small(model, tokens_per_layer=128), small(model, tokens_per_layer=64)
    source, restored = new_memory(roomy), new_memory(writer)
    append_frames(roomy, source, random_frames(20))
    facts = dataclasses.replace(FACTS, next_position=source.next_position, next_frame=source.next_frame)

    saved = Checkpoint(facts, tuple(checkpoint_codec.capture(source, EVERY_ID)), {})
    memory_restorer.restore(writer, restored, saved)

    assert_same(contents(source), contents(restored))
    append_frames(writer, restored, random_frames(4), first_s=100.0)
    assert restored.longest == restored.prefix_length + 64


def test_a_memory_is_compacted_only_where_its_slot_has_no_room(model: LlavaOnevision) -> None:
    """Budget 64 and steps of one frame of 16 tokens, in slots with room for four frames more."""
    writer = small(model)
    memory = new_memory(writer)
    lengths = []
    for frame in range(14):
        writer.append([memory], random_frames(1, seed=frame)[None], torch.tensor([[frame]]).double())
        lengths.append(memory.longest - memory.prefix_length)

    assert lengths == [16, 32, 48, 64, 80, 96, 112, 64, 80, 96, 112, 64, 80, 96]
    assert memory.compactions == 2


def test_a_step_that_is_larger_than_the_last_one_finds_room_too(model: LlavaOnevision) -> None:
    writer = small(model)
    memory = new_memory(writer)
    for frame in range(7):
        writer.append([memory], random_frames(1, seed=frame)[None], torch.tensor([[frame]]).double())
    assert memory.longest - memory.prefix_length == 112

    append_frames(writer, memory, random_frames(4), first_s=10.0)

    assert memory.compactions == 2
    newest = numbered(memory.after_prefix(0).token_ids)[-32:].tolist()
    assert newest == list(range(9 * TOKENS_PER_FRAME, 11 * TOKENS_PER_FRAME))


def some_admitted(num_frames: int, seed: int = 0) -> torch.Tensor:
    """A few tokens of each frame. bool [F, P]"""
    generator = torch.Generator().manual_seed(seed)
    admitted = torch.rand(num_frames, TOKENS_PER_FRAME, generator=generator) < 0.2
    admitted[:, 3] = True
    return admitted


def append_admitted(writer: MemoryWriter, memory: Memory, frames: torch.Tensor, admitted: torch.Tensor) -> None:
    """Appends the admitted tokens of frames half a second apart, four at a time."""
    times = torch.arange(len(frames), dtype=torch.float64)[None] / 2
    for start in range(0, len(frames), 4):
        step = slice(start, start + 4)
        writer.append([memory], frames[None, step], times[:, step], [admitted[step]])


def test_frames_that_are_admitted_whole_equal_frames_without_a_gate(writer: MemoryWriter) -> None:
    memory, gated, frames = new_memory(writer), new_memory(writer), random_frames(20)

    append_frames(writer, memory, frames)
    append_admitted(writer, gated, frames, torch.ones(20, TOKENS_PER_FRAME, dtype=torch.bool))

    assert_same(contents(memory), contents(gated))


def test_frames_without_an_admitted_token_change_nothing(writer: MemoryWriter) -> None:
    memory, frames = new_memory(writer), random_frames(8)
    append_frames(writer, memory, frames)
    before, frame, position = contents(memory), memory.next_frame, memory.next_position

    append_admitted(writer, memory, frames, torch.zeros(8, TOKENS_PER_FRAME, dtype=torch.bool))

    assert_same(before, contents(memory))
    assert (memory.next_frame, memory.next_position) == (frame, position)


def test_admitted_tokens_have_the_ids_times_and_positions_of_a_whole_frame(writer: MemoryWriter) -> None:
    """A frame without an admitted token takes neither a frame number nor positions."""
    memory, admitted = new_memory(writer), some_admitted(4)
    admitted[1] = False
    append_admitted(writer, memory, random_frames(4), admitted)

    admitted_cells = admitted[[0, 2, 3]].flatten().nonzero().squeeze(1)
    for layer in range(memory.num_layers):
        tokens = memory.after_prefix(layer)
        assert torch.equal(numbered(tokens.token_ids), admitted_cells)
        assert torch.equal(tokens.positions, memory.prefix_length + admitted_cells)
        assert torch.equal(tokens.times_s, torch.tensor([0.0, 1.0, 1.5]).double()[admitted_cells // TOKENS_PER_FRAME])
    assert memory.next_frame == 3


def test_an_admitted_token_attends_only_to_admitted_tokens(model: LlavaOnevision) -> None:
    """The plain reference: the same tokens one by one, each at its position."""
    writer = small(model)
    memory, frames, admitted = new_memory(writer), random_frames(2), some_admitted(2)
    append_admitted(writer, memory, frames, admitted)

    plain = new_memory(writer)
    admitted_cells = admitted.flatten().nonzero().squeeze(1)
    for cell in admitted_cells.tolist():
        token = model.embed_frames(frames[:, None]).map(lambda cells: cells.flatten(0, 1))
        token = Embeddings.pack([token.at(torch.tensor([cell]))])
        offset = torch.tensor([cell])
        model.forward(token, SlotCache([plain], [1], offsets=offset + memory.prefix_length - plain.next_position))
        plain.commit(offset, torch.zeros(1).double(), offset + plain.prefix_length - plain.next_position)

    for layer in range(memory.num_layers):
        assert torch.allclose(memory.after_prefix(layer).keys, plain.after_prefix(layer).keys, atol=1e-4)
        assert torch.equal(memory.after_prefix(layer).positions, plain.after_prefix(layer).positions)


@pytest.mark.parametrize("policy", list(PolicyName))
def test_a_memory_behind_a_gate_stays_bounded_and_ordered(model: LlavaOnevision, policy: str) -> None:
    writer = small(model, policy=policy)
    memory, frames = new_memory(writer), random_frames(4)
    for clip in range(150):
        times = (torch.arange(4.0)[None] + 4 * clip).double()
        writer.append([memory], frames[None], times, [some_admitted(4, seed=clip)])
        for layer in range(memory.num_layers):
            tokens = memory.after_prefix(layer)
            assert len(tokens) <= writer.capacity - memory.prefix_length
            assert bool((tokens.positions.diff() >= 0).all())
            assert int(numbered(tokens.token_ids).max()) < memory.next_frame * TOKENS_PER_FRAME
    assert memory.next_position <= model.spec.max_positions - 128


def test_positions_stay_free_for_the_prompts_that_score_a_memory(model: LlavaOnevision) -> None:
    """Even where a question needs fewer of them."""
    config = MemoryConfig(tokens_per_layer=128, recent_frames=4)
    writer = MemoryWriter(model, config, max_frames=8, reserve=1)

    assert writer.scorer.num_positions > 1
    assert writer.max_position + writer.scorer.num_positions == model.spec.reliable_positions


def test_a_policy_sees_the_past_alone_with_its_frames_and_the_budget_that_is_left(model: LlavaOnevision) -> None:
    """Budget 64, of which the recent window of two frames takes 32; eight frames have come."""
    seen: list[tuple[list[int], int, int]] = []

    def watching(view: MemoryView) -> list[Retention]:
        seen.extend((layer.frames.tolist(), layer.attention.numel(), layer.budget) for layer in view)
        return policies.by_peak_attention(view)

    config = MemoryConfig(tokens_per_layer=64, recent_frames=2)
    writer = MemoryWriter(model, config, max_frames=4, reserve=128, policy=Policy(watching))
    append_frames(writer, new_memory(writer), random_frames(8))

    past = [frame for frame in range(6) for _ in range(TOKENS_PER_FRAME)]
    assert seen == [(past, len(past), 32)] * model.spec.kv.num_layers
