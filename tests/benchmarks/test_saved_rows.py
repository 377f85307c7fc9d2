"""What is asked after a save and a restore: the same memory with exact rows, nearly the same with int8 rows."""

from __future__ import annotations

import dataclasses

import torch

from benchmarks import saved_rows
from cache_store.checkpoint import Rows
from cache_store.memory import CachedTokens, Memory
from tests.cache_store.test_compaction import compact, filled


def full() -> Memory:
    held = filled(60)
    compact(held, 20, first_recent_id=56)
    return held


def test_exact_rows_bring_back_the_very_same_memory_recent_window_and_prefix_included() -> None:
    held = full()
    came_back, _ = saved_rows.there_and_back(held, Rows.EXACT)
    assert came_back.lengths == held.lengths
    assert came_back.next_position == held.next_position
    for index in range(held.num_layers):
        for field in dataclasses.fields(CachedTokens):
            mine, its = (getattr(one.layer(index), field.name) for one in (held, came_back))
            assert torch.equal(mine, its)


def test_int8_rows_bring_back_other_rows_that_are_near_and_take_less() -> None:
    held = full()
    came_back, (nbytes, *_) = saved_rows.there_and_back(held, Rows.INT8)
    _, (exact_nbytes, *_) = saved_rows.there_and_back(held, Rows.EXACT)
    mine, its = held.remembered(1).values, came_back.remembered(1).values
    assert not torch.equal(mine, its)
    assert torch.allclose(mine, its, atol=float(mine.abs().max()) / 254 * 1.01)
    assert nbytes < exact_nbytes
