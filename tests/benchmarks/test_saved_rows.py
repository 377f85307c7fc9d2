"""A memory after a save and a restore: the same with exact rows, nearly the same with int8 rows."""

from __future__ import annotations

import dataclasses

import torch

from benchmarks import saved_rows
from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from tests.cache_store.test_compaction import compact, filled


def full() -> Memory:
    memory = filled(60)
    compact(memory, 20, first_recent_id=56)
    return memory


def test_exact_rows_restore_the_whole_memory_exactly() -> None:
    memory = full()
    restored, _ = saved_rows.save_and_restore(memory, RowFormat.EXACT)
    assert restored.lengths == memory.lengths
    assert restored.next_position == memory.next_position
    for index in range(memory.num_layers):
        for field in dataclasses.fields(CachedTokens):
            before, after = (getattr(one.layer(index), field.name) for one in (memory, restored))
            assert torch.equal(before, after)


def test_int8_rows_restore_similar_rows_and_take_fewer_bytes() -> None:
    memory = full()
    restored, (nbytes, *_) = saved_rows.save_and_restore(memory, RowFormat.INT8)
    _, (exact_nbytes, *_) = saved_rows.save_and_restore(memory, RowFormat.EXACT)
    before, after = memory.after_prefix(1).values, restored.after_prefix(1).values
    assert not torch.equal(before, after)
    assert torch.allclose(before, after, atol=float(before.abs().max()) / 254 * 1.01)
    assert nbytes < exact_nbytes
