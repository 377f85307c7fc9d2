"""The sizes that are computed from a shape are those of the real slabs and checkpoints."""

from __future__ import annotations

import pytest
import torch

from benchmarks.on_device import checkpoints
from cache_store import checkpoint_codec
from cache_store.cached_tokens import TOKEN_AXES
from cache_store.footprint import FACT_NBYTES
from cache_store.memory import Memory
from cache_store.positions import Positions
from cache_store.row_format import RowFormat
from cache_store.slabs import KVShape, RecurrentShape, Slabs
from tests.conftest import rope_frequencies

TINY = (6, 2, 32, torch.float32)
HALF_BILLION = (24, 2, 64, torch.bfloat16)
EIGHT_BILLION = (36, 8, 128, torch.bfloat16)
HYBRID = RecurrentShape(layers=(0, 1, 2, 4, 5), convolution=(96, 4), state=(4, 16, 16))
HEADER_SHARE = 0.02  # of an encoded checkpoint, at most


def shape_of(
    layers: int,
    heads: int,
    head_dim: int,
    dtype: torch.dtype,
    *,
    device: str = "cpu",
    recurrent: RecurrentShape | None = None,
) -> KVShape:
    positions = Positions(rope_frequencies(head_dim, 10_000.0).tolist(), device=device)
    return KVShape(layers, heads, head_dim, positions, dtype, torch.device(device), recurrent)


def test_the_facts_of_a_token_are_those_of_the_slabs() -> None:
    slabs = Slabs(shape_of(*TINY), slots=1, capacity=1)
    facts = {name: getattr(slabs, name).dtype.itemsize for name, axis in TOKEN_AXES if not axis}

    assert facts == FACT_NBYTES


@pytest.mark.parametrize("rows", list(RowFormat))
@pytest.mark.parametrize("recurrent", [None, HYBRID], ids=["full", "hybrid"])
@pytest.mark.parametrize("shape", [TINY, HALF_BILLION, EIGHT_BILLION], ids=["tiny", "0.5B", "8B"])
def test_a_slot_has_the_bytes_of_its_slabs(
    shape: tuple[int, int, int, torch.dtype], recurrent: RecurrentShape | None, rows: RowFormat
) -> None:
    """On the device `meta`, which allocates nothing, because 8B takes gigabytes."""
    slabs = Slabs(shape_of(*shape, device="meta", recurrent=recurrent), slots=3, capacity=4_321, rows=rows)

    assert slabs.nbytes == 3 * slabs.slot_nbytes == 3 * slabs.shape.footprint.slot_nbytes(4_321, rows)


@pytest.mark.parametrize("shape", [HALF_BILLION, EIGHT_BILLION], ids=["0.5B", "8B"])
def test_int8_rows_take_at_most_55_percent_of_bfloat16_with_all_that_a_token_has(
    shape: tuple[int, int, int, torch.dtype],
) -> None:
    footprint = shape_of(*shape, device="meta").footprint

    assert footprint.slot_nbytes(4_321, RowFormat.INT8) <= 0.55 * footprint.slot_nbytes(4_321)


@pytest.mark.parametrize("rows", list(RowFormat))
@pytest.mark.parametrize("recurrent", [None, HYBRID], ids=["full", "hybrid"])
@pytest.mark.parametrize("shape", [TINY, HALF_BILLION], ids=["tiny", "0.5B"])
def test_a_checkpoint_has_the_bytes_that_are_written(
    shape: tuple[int, int, int, torch.dtype], recurrent: RecurrentShape | None, rows: RowFormat
) -> None:
    real, num_tokens = shape_of(*shape, recurrent=recurrent), 400
    memory = Memory(Slabs(real, slots=1, capacity=num_tokens), 0)
    memory.extend(num_tokens, num_tokens)
    written = sum(map(len, checkpoint_codec.encode(checkpoints.whole(memory, rows))))
    expected = real.footprint.checkpoint_nbytes(num_tokens, rows)

    assert expected <= written <= expected * (1 + HEADER_SHARE)
