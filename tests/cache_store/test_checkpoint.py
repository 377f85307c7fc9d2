"""A global summary tier as bytes: decoded bit for bit, and refused where it is corrupt."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store import checkpoint_codec
from cache_store.cached_tokens import CachedTokens
from cache_store.checkpoint import Checkpoint, CheckpointFacts
from cache_store.errors import CheckpointCorrupt
from cache_store.gap import Gap
from cache_store.row_format import RowFormat
from ops import quantising
from tests.cache_store.test_compaction import LAYERS, PREFIX, compact, filled

FACTS = CheckpointFacts(
    fingerprint="abc",
    saved_s=1_000.5,
    started_s=900.0,
    newest_s=998.0,
    next_position=63,
    next_frame=60,
    frames_seen=60,
    frames_dropped=2,
    compactions=1,
    gaps=(Gap(start_s=920.0, end_s=930.0, reason="no frames"),),
)


def saved_at(saved_s: float) -> Checkpoint:
    """A checkpoint of a compacted memory with two thumbnails. A later one has more frames."""
    memory = filled(60)
    compact(memory, 20, first_recent_id=56)
    facts = dataclasses.replace(FACTS, saved_s=saved_s, next_frame=60 + int(saved_s))
    return Checkpoint(facts, checkpoint_codec.capture(memory, 56), {3: b"\xff\xd8three", 41: b"\xff\xd8forty-one"})


def assert_equal(left: Checkpoint, right: Checkpoint) -> None:
    assert left.thumbnails == right.thumbnails
    assert left.facts.saved_s == right.facts.saved_s
    for mine, other in zip(left.layers, right.layers, strict=True):
        for field in dataclasses.fields(CachedTokens):
            assert torch.equal(getattr(mine, field.name), getattr(other, field.name))


def as_bytes(saved: Checkpoint) -> bytes:
    return b"".join(checkpoint_codec.encode(saved))


def test_a_decoded_checkpoint_equals_the_encoded_one() -> None:
    saved = saved_at(7.0)
    loaded = checkpoint_codec.decode([as_bytes(saved)], saved.facts, saved.thumbnails)
    assert_equal(saved, loaded)
    assert loaded.facts.gaps == FACTS.gaps


def in_int8(saved: Checkpoint, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """The same with int8 rows."""
    layers = tuple(
        dataclasses.replace(one, keys=one.keys.to(dtype), values=one.values.to(dtype)) for one in saved.layers
    )
    return dataclasses.replace(saved, facts=dataclasses.replace(saved.facts, rows=RowFormat.INT8), layers=layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_int8_rows_are_nearly_equal_and_all_else_exactly(dtype: torch.dtype) -> None:
    saved = in_int8(saved_at(7.0), dtype)
    loaded = checkpoint_codec.decode([as_bytes(saved)], saved.facts, {})
    assert loaded.facts == saved.facts
    for mine, other in zip(saved.layers, loaded.layers, strict=True):
        for name in ("positions", "token_ids", "counts", "times_s"):
            assert torch.equal(getattr(mine, name), getattr(other, name))
        for name in ("keys", "values"):
            before, after = getattr(mine, name), quantising.convert(getattr(other, name), dtype)
            allowed = before.abs().amax(dim=-1, keepdim=True) * (1 / 253 + 2 * torch.finfo(dtype).eps)
            assert bool(((after.float() - before.float()).abs() <= allowed.float()).all())


def test_int8_rows_are_restored_like_exact_ones() -> None:
    saved = in_int8(saved_at(7.0))
    fresh = filled(0)
    checkpoint_codec.restore(fresh, checkpoint_codec.decode([as_bytes(saved)], saved.facts, {}))
    assert torch.allclose(fresh.after_prefix(2).values, saved.layers[2].values, atol=0.05)


@given(st.data())
def test_cut_or_changed_int8_rows_raise_no_error_but_checkpoint_corrupt(data: st.DataObject) -> None:
    saved = in_int8(saved_at(7.0))
    whole = bytearray(as_bytes(saved))
    whole[data.draw(st.integers(0, 1_500))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CheckpointCorrupt):
        checkpoint_codec.decode([bytes(whole)], saved.facts, {})


def test_a_restored_memory_has_the_tier_and_continues_behind_it() -> None:
    saved = saved_at(7.0)
    fresh = filled(0)
    checkpoint_codec.restore(fresh, saved)
    assert fresh.lengths == [PREFIX + 16] * LAYERS
    assert (fresh.next_position, fresh.next_frame, fresh.compactions) == (63, 67, 1)
    assert torch.equal(fresh.after_prefix(2).keys, saved.layers[2].keys)
    assert bool((fresh.after_prefix(0).token_ids < 56).all())


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(CheckpointCorrupt):
        checkpoint_codec.decode([noise], FACTS, {})


@given(st.data())
def test_a_cut_checkpoint_is_refused(data: st.DataObject) -> None:
    whole = as_bytes(saved_at(7.0))
    with pytest.raises(CheckpointCorrupt):
        checkpoint_codec.decode([whole[: data.draw(st.integers(0, len(whole) - 1))]], FACTS, {})


def test_another_schema_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = as_bytes(saved_at(7.0))
    monkeypatch.setattr(checkpoint_codec, "READABLE_VERSIONS", (99,))
    with pytest.raises(CheckpointCorrupt, match="schema version 5"):
        checkpoint_codec.decode([whole], FACTS, {})


@pytest.mark.parametrize(
    ("field", "wrong", "named"),
    [
        ("keys", torch.zeros(2, 16, 9), "keys is torch.float32"),
        ("values", torch.zeros(2, 16, 8, dtype=torch.float16), "values is torch.float16"),
        ("positions", torch.arange(16).flip(0), "out of order"),
        ("counts", torch.zeros(16, dtype=torch.int64), "out of order"),
    ],
)
def test_tensors_that_do_not_fit_the_model_are_refused(field: str, wrong: torch.Tensor, named: str) -> None:
    saved = saved_at(7.0)
    broken = dataclasses.replace(saved.layers[1], **{field: wrong})
    layers = (saved.layers[0], broken, *saved.layers[2:])
    with pytest.raises(CheckpointCorrupt, match=named):
        checkpoint_codec.restore(filled(0), dataclasses.replace(saved, layers=layers))
