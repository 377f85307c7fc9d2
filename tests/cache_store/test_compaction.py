"""A memory cut back to its budget: what stays, where, and what is never touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import baselines
from benchmarks.baselines import published_summary
from cache_store import compaction, reindexing, tiers
from cache_store.memory import Memory
from cache_store.policies import POLICIES, MemoryView, Policy, Retention
from cache_store.positions import Positions
from cache_store.row_format import RowFormat
from cache_store.slabs import KVShape, Slabs
from cache_store.tiers import LayerPlan, MemoryConfig, PolicyName, Role
from ops import rope
from tests.conftest import assert_same, contents, rope_frequencies

PREFIX = 3
LAYERS = 6
FREQUENCY = rope_frequencies(8, 10_000.0)
SHAPE = KVShape(
    num_layers=LAYERS,
    num_kv_heads=2,
    head_dim=8,
    positions=Positions(FREQUENCY.tolist()),
    dtype=torch.float32,
    device=torch.device("cpu"),
)
PLANS = tiers.plan_layers(LAYERS, MemoryConfig())
NO_WINDOW = 1 << 40
REFERENCE = Policy(baselines.hermes_published, published_summary, keeps_window=False)
FOLDING = Policy(baselines.hermes_with_summaries)
EVERY_POLICY = (*POLICIES.values(), REFERENCE, FOLDING)


def filled(num_tokens: int, seed: int = 0, *, capacity: int = 200, rows: RowFormat = RowFormat.EXACT) -> Memory:
    """A memory with a prefix of 3 and random tokens after it, one frame a token."""
    memory = Memory(Slabs(SHAPE, slots=2, capacity=capacity, rows=rows), 1)
    append(memory, PREFIX, seed=99)
    memory.end_prefix()
    memory.rewind(replace(memory.extent, next_frame=0))
    append(memory, num_tokens, seed=seed)
    return memory


def append(memory: Memory, num_tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for layer in range(LAYERS):
        keys, values = (torch.randn(2, num_tokens, 8, generator=generator) for _ in range(2))
        memory.write(layer, keys, values)
    ids = torch.arange(memory.next_frame, memory.next_frame + num_tokens)
    memory.commit(ids, ids.double())
    memory.count_frames(num_tokens, 0.0)


def random_attention(memory: Memory, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(length - memory.prefix_length, generator=generator) for length in memory.lengths]


def compact(
    memory: Memory,
    budget: int,
    *,
    attention: list[torch.Tensor] | None = None,
    plans: tuple[LayerPlan, ...] = PLANS,
    policy: Policy = FOLDING,
    first_recent_id: int = NO_WINDOW,
) -> None:
    if not compaction.is_due(memory, budget):
        return
    remaining = compaction.decide(
        memory,
        attention or random_attention(memory),
        plans,
        policy=policy,
        budget=budget,
        first_recent_id=first_recent_id,
    )
    compaction.apply(memory, remaining)


def unsmoothed(plans: tuple[LayerPlan, ...]) -> tuple[LayerPlan, ...]:
    return tuple(replace(plan, smoothing_share=0.0) for plan in plans)


@pytest.mark.parametrize("policy", EVERY_POLICY)
@given(num_tokens=st.integers(0, 60), budget=st.integers(2, 40), seed=st.integers(0, 1_000))
def test_every_layer_has_at_most_prefix_and_budget(policy: Policy, num_tokens: int, budget: int, seed: int) -> None:
    memory = filled(num_tokens, seed)
    compact(memory, budget, policy=policy)
    assert memory.lengths == [PREFIX + min(num_tokens, budget)] * LAYERS


@pytest.mark.parametrize("policy", EVERY_POLICY)
@given(num_tokens=st.integers(0, 60), budget=st.integers(2, 40), window=st.integers(0, 8), seed=st.integers(0, 1_000))
def test_kept_tokens_are_unchanged(policy: Policy, num_tokens: int, budget: int, window: int, seed: int) -> None:
    """Keys, values, positions and times to the bit, in order of time; the window whole; the prefix untouched."""
    memory = filled(num_tokens, seed)
    window = min(window, budget - 1, num_tokens)
    before = [memory.layer(layer).at(torch.arange(length)) for layer, length in enumerate(memory.lengths)]
    compact(memory, budget, policy=policy, first_recent_id=num_tokens - window)
    for layer, old in enumerate(before):
        now = memory.layer(layer)
        real = [place for place in range(len(now)) if place < PREFIX or now.token_ids[place] >= 0]
        came_from = [place if place < PREFIX else PREFIX + int(now.token_ids[place]) for place in real]
        assert torch.equal(now.keys[:, real], old.keys[:, came_from])
        assert torch.equal(now.values[:, real], old.values[:, came_from])
        assert torch.equal(now.positions[real], old.positions[came_from])
        assert torch.equal(now.times_s[real], old.times_s[came_from])
        # The published summary takes the place after the last kept token, which a window has already.
        apart = 0 if policy is REFERENCE else 1
        assert bool((now.positions.diff() >= apart).all())
        assert now.token_ids[len(now) - window :].tolist() == list(range(num_tokens - window, num_tokens))


def test_below_the_budget_nothing_happens() -> None:
    memory = filled(20)
    before, position = contents(memory), memory.next_position
    compact(memory, 20)
    assert_same(before, contents(memory))
    assert (memory.next_position, memory.compactions) == (position, 0)


def test_shallow_layers_keep_the_newest_tokens_at_any_attention() -> None:
    memory = filled(50)
    compact(memory, 12, plans=unsmoothed(PLANS), policy=REFERENCE)
    assert memory.after_prefix(0).token_ids.tolist() == list(range(38, 50))


def test_deep_layers_keep_the_most_attended_tokens_and_one_summary_last() -> None:
    """Section 5, fact 4, to the letter: the reference variant without a window."""
    memory = filled(50)
    attention = random_attention(memory, seed=5)
    compact(memory, 12, attention=attention, plans=unsmoothed(PLANS), policy=REFERENCE)
    for layer in range(LAYERS):
        tokens = memory.after_prefix(layer)
        summaries = (tokens.token_ids < 0).nonzero().flatten().tolist()
        assert summaries == ([11] if PLANS[layer].role is Role.LONG_TERM else [])
    deep = memory.after_prefix(LAYERS - 1)
    best = attention[-1].topk(11).indices.sort().values
    assert deep.token_ids[:11].tolist() == best.tolist()
    assert int(deep.positions[11]) == int(deep.positions[10]) + 1


def test_the_reference_summary_is_the_plain_mean_at_the_next_position() -> None:
    """Positions 0 to 4 after the prefix; {0, 3, 4} are kept, {1, 2} fold into a token at position 5."""
    memory = filled(5)
    old = memory.after_prefix(LAYERS - 1)
    folded_keys = rope.rotate(old.keys[:, 1:3], PREFIX + 5 - old.positions[1:3], FREQUENCY).mean(dim=1)
    folded_values = old.values[:, 1:3].mean(dim=1)
    attention = [torch.tensor([1.0, 0.1, 0.2, 0.8, 0.9])] * LAYERS
    compact(memory, 4, attention=attention, plans=unsmoothed(PLANS), policy=REFERENCE)
    tokens = memory.after_prefix(LAYERS - 1)
    assert tokens.positions.tolist() == [PREFIX + place for place in (0, 3, 4, 5)]
    assert torch.allclose(memory.keys(LAYERS - 1)[:, -1], folded_keys, atol=1e-5)
    assert torch.allclose(tokens.values[:, -1], folded_values, atol=1e-6)
    assert tokens.counts.tolist() == [1, 1, 1, 1]
    assert memory.next_position == PREFIX + 6


@given(num_tokens=st.integers(20, 60), window=st.integers(1, 8), rounds=st.integers(1, 4))
def test_a_summary_is_between_prefix_and_window_and_counts_all_its_tokens(
    num_tokens: int, window: int, rounds: int
) -> None:
    memory = filled(num_tokens)
    for turn in range(rounds):
        compact(memory, 16, attention=random_attention(memory, turn), first_recent_id=memory.next_frame - window)
        append(memory, 10, seed=turn)
    compact(memory, 16, attention=random_attention(memory, 77), first_recent_id=memory.next_frame - window)
    for layer in range(LAYERS):
        tokens = memory.after_prefix(layer)
        if PLANS[layer].role is Role.LONG_TERM:
            assert int(tokens.counts.sum()) == memory.next_frame
            newest_summary = int(tokens.positions[tokens.token_ids < 0].max())
            assert newest_summary < int(tokens.positions[-window])
        else:
            assert bool((tokens.token_ids >= 0).all())
        assert len(tokens.positions.unique()) == len(tokens)


def test_a_whole_history_folds_as_if_at_once() -> None:
    """Weighted by counts, the summary's value stays the mean of all that was ever folded, not of the last round."""
    memory = filled(40)
    everything = memory.after_prefix(LAYERS - 1).values.clone()
    lowest_last = [torch.linspace(0, 1, 40)] * LAYERS
    compact(memory, 21, attention=lowest_last, plans=unsmoothed(PLANS))
    # The summary gets the least attention, so the next round folds it again.
    attention = [torch.linspace(0, 1, length - PREFIX) for length in memory.lengths]
    first = int((memory.after_prefix(LAYERS - 1).token_ids < 0).nonzero())
    attention[-1] = attention[-1].index_fill(0, torch.tensor([first]), -1.0)
    compact(memory, 11, attention=attention, plans=unsmoothed(PLANS))
    tokens = memory.after_prefix(LAYERS - 1)
    summary = tokens.token_ids < 0
    assert tokens.counts[summary].tolist() == [30]
    assert torch.allclose(tokens.values[:, summary].flatten(1), everything[:, :30].mean(dim=1), atol=1e-5)


def test_reindexing_rotates_keys_as_a_fresh_rotation_and_leaves_values() -> None:
    memory = filled(30)
    raw = [rope.rotate(memory.after_prefix(0).keys, -memory.after_prefix(0).positions, FREQUENCY)]
    compact(memory, 10, policy=POLICIES[PolicyName.QUESTIONS])
    ids, values = memory.after_prefix(0).token_ids.clone(), memory.after_prefix(0).values.clone()
    reindexing.reindex(memory, max_span=1_000, max_gap=1)
    tokens = memory.after_prefix(0)
    assert torch.allclose(
        memory.keys(0)[:, PREFIX:], rope.rotate(raw[0][:, ids], tokens.positions, FREQUENCY), atol=1e-4
    )
    assert torch.equal(tokens.values, values)
    everywhere = torch.cat([memory.after_prefix(layer).positions for layer in range(LAYERS)]).unique()
    assert everywhere.tolist() == list(range(PREFIX, PREFIX + len(everywhere)))
    assert memory.next_position == PREFIX + len(everywhere)


def test_each_group_of_evicted_tokens_becomes_a_summary_of_its_own() -> None:
    def keep_ten_fold_pairs(view: MemoryView) -> list[Retention]:
        assert view[0].tokens.token_ids.tolist() == list(range(12))
        return [Retention(torch.arange(4, 12), (torch.arange(0, 2), torch.arange(2, 4))) for _ in view]

    memory = filled(12)
    before = memory.after_prefix(0).values.clone()
    compact(memory, 10, policy=Policy(keep_ten_fold_pairs))
    for layer in range(LAYERS):
        tokens = memory.after_prefix(layer)
        assert tokens.token_ids.tolist() == [-1, -2, *range(4, 12)]
        assert tokens.counts.tolist() == [2, 2] + [1] * 8
    assert torch.allclose(memory.after_prefix(0).values[:, 1], before[:, 2:4].mean(dim=1), atol=1e-6)


def test_a_token_has_one_position_in_all_layers_that_fit() -> None:
    memory = filled(60)
    compact(memory, 20)
    reindexing.reindex(memory, max_span=60, max_gap=1)
    places: dict[int, int] = {}
    for layer in range(LAYERS):
        tokens = memory.after_prefix(layer)
        for token, position in zip(tokens.token_ids.tolist(), tokens.positions.tolist(), strict=True):
            if token >= 0:
                assert places.setdefault(token, position) == position


def test_a_memory_of_its_prefix_alone_continues_right_after_it() -> None:
    memory = filled(0)
    reindexing.reindex(memory, max_span=30, max_gap=1)
    assert memory.next_position == PREFIX
