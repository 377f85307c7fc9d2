"""Slots of int8 rows: rounded once, when a token is written, whatever happens to its memory after that."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cache_store import checkpoint_codec, reindexing
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from cache_store.policies import POLICIES
from cache_store.row_format import RowFormat
from cache_store.tiers import PolicyName
from ops import quantising, rope
from tests.cache_store.test_checkpoint import FACTS, as_bytes
from tests.cache_store.test_compaction import FREQUENCY, LAYERS, PREFIX, append, compact, filled
from tests.conftest import assert_same, contents

BUDGET, COMPACTIONS, KEPT = 24, 1_000, 6
HALF_A_STEP = 1 / 253  # of a row's largest magnitude, the rounding of its step included


def int8_memory(num_tokens: int = 0) -> Memory:
    return filled(num_tokens, rows=RowFormat.INT8)


def restored(saved: Memory, rows: RowFormat, *, written: RowFormat | None = None) -> Memory:
    """A memory that keeps its rows in this way, from the bytes of a checkpoint of another one."""
    facts = dataclasses.replace(FACTS, rows=written or saved.slabs.rows)
    checkpoint = Checkpoint(facts, checkpoint_codec.capture(saved, 1 << 40), {})
    fresh = filled(0, rows=rows)
    checkpoint_codec.restore(fresh, checkpoint_codec.decode([as_bytes(checkpoint)], facts, {}))
    return fresh


def test_keys_and_values_are_read_within_half_a_step_of_what_was_written() -> None:
    exact, rounded = filled(60), int8_memory(60)

    for layer in range(LAYERS):
        for before, after in ((exact.keys, rounded.keys), (exact.values, rounded.values)):
            allowed = before(layer).abs().amax(dim=-1, keepdim=True) * HALF_A_STEP
            assert bool(((after(layer) - before(layer)).abs() <= allowed).all())
            assert not torch.equal(after(layer), before(layer))


def test_the_rows_of_a_token_that_stays_are_the_same_after_a_thousand_compactions() -> None:
    """And its key, read where its position has moved to, is the first one rotated once."""
    memory = int8_memory(KEPT)
    first, raw = memory.after_prefix(0).map(lambda tensor, _: tensor.clone()), memory.keys(0)[:, PREFIX:].clone()
    for turn in range(COMPACTIONS):
        append(memory, 30, seed=turn)
        attention = [torch.rand(length - PREFIX) for length in memory.lengths]
        for scores in attention:
            scores[:KEPT] = 2
        compact(memory, BUDGET, attention=attention, policy=POLICIES[PolicyName.QUESTIONS])
        reindexing.reindex(memory, max_span=60 - turn % 7, max_gap=2 + turn % 3)

    kept = memory.after_prefix(0).slice(0, KEPT)
    assert memory.compactions == COMPACTIONS
    assert torch.equal(kept.token_ids, first.token_ids)
    assert torch.equal(kept.keys, first.keys)
    assert torch.equal(kept.values, first.values)
    found = memory.keys(0)[:, PREFIX : PREFIX + KEPT]
    assert torch.allclose(found, rope.rotate(raw, kept.positions - first.positions, FREQUENCY), atol=1e-5)


def test_a_copy_in_a_slot_of_int8_rows_has_the_same_rows_wherever_positions_moved() -> None:
    memory, copy = int8_memory(60), int8_memory()
    compact(memory, BUDGET)
    reindexing.reindex(memory, max_span=40, max_gap=2)
    before = contents(memory)

    copy.copy_from(memory)

    assert memory.reach == copy.reach > 0
    assert_same(before, contents(copy))
    assert_same(before, contents(memory))
    assert torch.equal(copy.keys(0), memory.keys(0))


def test_summaries_of_int8_rows_are_those_of_what_the_rows_stand_for() -> None:
    memory = int8_memory(60)
    exact = filled(0)
    exact.copy_from(memory)
    for one in (memory, exact):
        compact(one, BUDGET, attention=[torch.linspace(0, 1, 60)] * LAYERS)

    assert memory.has_summaries
    for layer in range(LAYERS):
        assert torch.equal(memory.layer(layer).counts, exact.layer(layer).counts)
        for found, expected in ((memory.keys(layer), exact.keys(layer)), (memory.values(layer), exact.values(layer))):
            # Twice that: keys are rotated when they are read, which mixes two channels.
            allowed = expected.abs().amax(dim=-1, keepdim=True) * 2 * HALF_A_STEP
            assert bool(((found - expected).abs() <= allowed).all())


def test_a_saved_memory_of_int8_rows_is_restored_bit_for_bit() -> None:
    memory = int8_memory(60)
    compact(memory, BUDGET)

    again = restored(memory, RowFormat.INT8)

    for layer in range(LAYERS):
        mine, other = memory.after_prefix(layer), again.after_prefix(layer)
        for (name, _, tensor), (_, _, expected) in zip(other.tensors(), mine.tensors(), strict=True):
            assert torch.equal(tensor, expected), name


def test_a_memory_of_int8_rows_is_read_the_same_where_slots_are_exact() -> None:
    memory = int8_memory(60)

    again = restored(memory, RowFormat.EXACT)

    assert torch.equal(again.keys(0)[:, PREFIX:], memory.keys(0)[:, PREFIX:])
    assert torch.equal(again.values(0)[:, PREFIX:], memory.values(0)[:, PREFIX:])
    assert torch.equal(restored(again, RowFormat.INT8).layer(0).keys[:, PREFIX:], memory.layer(0).keys[:, PREFIX:])


@pytest.mark.parametrize("written", list(RowFormat))
def test_an_exact_memory_is_rounded_once_where_slots_have_int8_rows(written: RowFormat) -> None:
    memory = filled(60)

    again = restored(memory, RowFormat.INT8, written=written)

    expected = quantising.convert(memory.layer(0).keys, torch.int8)
    assert torch.equal(again.layer(0).keys[:, PREFIX:], expected[:, PREFIX:])
