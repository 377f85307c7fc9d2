"""The contract of every checkpoint store: in memory, and on real servers."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
import redis
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store import manifest
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.leases import UNOWNED_EXPIRY, InMemoryLeases, Owner
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.row_format import RowFormat
from cache_store.store import CheckpointStore, InMemoryCheckpointStore
from ops import quantising
from tests.cache_store.test_checkpoint import FACTS, assert_equal, saved_at
from tests.servers import KINDS


@pytest_asyncio.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in KINDS)])
async def store(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> AsyncIterator[CheckpointStore]:
    if request.param == "memory":
        yield InMemoryCheckpointStore(FIXED_OWNER)
        return
    async with store_with_owners(url_of(request.param)) as store:
        yield store


@asynccontextmanager
async def store_with_owners(server_url: str) -> AsyncIterator[RedisCheckpointStore]:
    """A store in which the cameras of these tests have OWNER; emptied afterwards."""
    store, leases = RedisCheckpointStore(server_url), RedisLeases(server_url)
    for camera in ("lobby", "gate"):
        await leases.acquire(camera, OWNER.incarnation, min_epoch=OWNER.epoch - 1, expiry=UNOWNED_EXPIRY)
    yield store
    await store.close()
    await leases.close()
    with redis.Redis.from_url(server_url) as cleaner:
        cleaner.flushall()


class FixedOwner(InMemoryLeases):
    """Grants every camera to one owner from the beginning."""

    async def owner(self, camera: str) -> Owner | None:
        return OWNER


OWNER = Owner(9_000_000_000_000, "me")
FIXED_OWNER = FixedOwner()


async def test_an_unknown_camera_has_no_checkpoint(store: CheckpointStore) -> None:
    assert await store.load("lobby", FACTS.fingerprint) is None


async def test_the_newest_checkpoint_is_loaded_bit_for_bit(store: CheckpointStore) -> None:
    for moment in (1.0, 2.0, 3.0):
        await store.save("lobby", saved_at(moment), OWNER)
    loaded = await store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert_equal(loaded, saved_at(3.0))


async def test_an_older_generation_of_this_model_is_loaded_if_the_newest_is_of_another_model(
    store: CheckpointStore,
) -> None:
    await store.save("lobby", saved_at(1.0), OWNER)
    other = saved_at(2.0)
    await store.save(
        "lobby", dataclasses.replace(other, facts=dataclasses.replace(other.facts, fingerprint="x")), OWNER
    )

    loaded = await store.load("lobby", FACTS.fingerprint)

    assert loaded is not None
    assert loaded.facts.saved_s == 1.0
    with pytest.raises(CheckpointCorrupt, match=r"manifest of model '\w+' \(expected 'y'\)"):
        await store.load("lobby", "y", "y")


async def test_cameras_have_checkpoints_of_their_own(store: CheckpointStore) -> None:
    await store.save("lobby", saved_at(1.0), OWNER)
    await store.save("gate", saved_at(2.0), OWNER)
    await store.delete("gate", OWNER)
    assert await store.load("gate", FACTS.fingerprint) is None
    assert await store.load("lobby", FACTS.fingerprint) is not None


async def test_deleting_the_checkpoints_of_a_camera_without_any_is_no_error(store: CheckpointStore) -> None:
    await store.delete("gate", OWNER)


@given(sizes=st.lists(st.integers(0, 9), max_size=12), nbytes=st.integers(1, 7))
def test_pieces_are_the_same_bytes_and_a_part_that_fits_in_one_is_not_cut(sizes: list[int], nbytes: int) -> None:
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    pieces = list(manifest.pieces_of(map(memoryview, parts), nbytes))
    assert b"".join(pieces) == b"".join(parts)
    assert all(0 < len(piece) <= nbytes for piece in pieces)
    for part in parts:
        if 0 < len(part) <= nbytes:
            assert any(part in piece for piece in pieces)


def with_thumbnails(saved: Checkpoint, thumbnails: dict[int, bytes]) -> Checkpoint:
    return dataclasses.replace(saved, thumbnails=thumbnails)


def with_more_frames(saved: Checkpoint, saved_s: float) -> Checkpoint:
    """The checkpoint of the same memory after frames that left no token."""
    facts = dataclasses.replace(saved.facts, saved_s=saved_s, newest_s=saved_s, frames_seen=saved.facts.frames_seen + 8)
    return dataclasses.replace(saved, facts=facts)


async def test_a_memory_without_new_tokens_is_loaded_with_its_newest_facts(store: CheckpointStore) -> None:
    saved = saved_at(1.0)
    await store.save("lobby", saved, OWNER)

    await store.save("lobby", with_more_frames(saved, 2.0), OWNER)

    loaded = await store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts == with_more_frames(saved, 2.0).facts
    assert_equal(loaded, with_more_frames(saved, 2.0))


async def test_each_checkpoint_is_loaded_in_its_own_row_format(store: CheckpointStore) -> None:
    """One memory, first in int8 and then exact, as for a camera that moves."""
    saved = saved_at(1.0)
    coarse = dataclasses.replace(saved, facts=dataclasses.replace(saved.facts, rows=RowFormat.INT8))

    await store.save("lobby", coarse, OWNER)
    first = await store.load("lobby", FACTS.fingerprint)
    await store.save("lobby", saved, OWNER)
    second = await store.load("lobby", FACTS.fingerprint)

    assert first is not None
    assert second is not None
    assert first.facts.rows is RowFormat.INT8
    keys = quantising.convert(first.layers[0].keys, torch.float32)
    assert not torch.equal(keys, saved.layers[0].keys)
    assert torch.allclose(keys, saved.layers[0].keys, atol=0.05)
    assert_equal(second, saved)
