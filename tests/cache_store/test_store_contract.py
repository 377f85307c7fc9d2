"""What every checkpoint store promises; the Redis one against real servers."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import redis
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store import manifest
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt, StoreUnavailable
from cache_store.leases import UNOWNED_EXPIRY, InMemoryLeases, Owner
from cache_store.manifest import Manifest
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.row_format import RowFormat
from cache_store.store import CheckpointStore, InMemoryCheckpointStore
from tests.cache_store.test_checkpoint import FACTS, assert_equal, saved_at
from tests.servers import KINDS


@pytest_asyncio.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in KINDS)])
async def kept(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> AsyncIterator[CheckpointStore]:
    if request.param == "memory":
        yield InMemoryCheckpointStore(NOBODY_ELSE)
        return
    async with owned(url_of(request.param)) as client:
        yield client


@pytest_asyncio.fixture
async def in_redis(server_url: str) -> AsyncIterator[RedisCheckpointStore]:
    async with owned(server_url) as client:
        yield client


@asynccontextmanager
async def owned(server_url: str) -> AsyncIterator[RedisCheckpointStore]:
    """A store in which the cameras of these tests have their owner; empty again afterwards."""
    client, leases = RedisCheckpointStore(server_url), RedisLeases(server_url)
    for camera in ("lobby", "gate"):
        await leases.acquire(camera, OWNER.incarnation, min_epoch=OWNER.epoch - 1, expiry=UNOWNED_EXPIRY)
    yield client
    await client.close()
    await leases.close()
    with redis.Redis.from_url(server_url) as cleaner:
        cleaner.flushall()


class OneOwner(InMemoryLeases):
    """Grants every camera to one owner from the beginning."""

    async def owner(self, camera: str) -> Owner | None:
        return OWNER


OWNER = Owner(9_000_000_000_000, "me")
NOBODY_ELSE = OneOwner()


async def test_it_answers_a_ping(kept: CheckpointStore) -> None:
    await kept.ping()


async def test_an_unknown_camera_has_no_checkpoint(kept: CheckpointStore) -> None:
    assert await kept.load("lobby", FACTS.fingerprint) is None


async def test_the_newest_checkpoint_comes_back_exactly(kept: CheckpointStore) -> None:
    for moment in (1.0, 2.0, 3.0):
        await kept.save("lobby", saved_at(moment), OWNER)
    loaded = await kept.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert_equal(loaded, saved_at(3.0))


async def test_an_older_generation_of_this_model_is_better_than_the_newest_of_another(
    kept: CheckpointStore,
) -> None:
    await kept.save("lobby", saved_at(1.0), OWNER)
    other = saved_at(2.0)
    await kept.save("lobby", dataclasses.replace(other, facts=dataclasses.replace(other.facts, fingerprint="x")), OWNER)

    loaded = await kept.load("lobby", FACTS.fingerprint)

    assert loaded is not None
    assert loaded.facts.saved_s == 1.0
    with pytest.raises(CheckpointCorrupt, match="manifest of model"):
        await kept.load("lobby", "y")


async def test_cameras_do_not_see_each_other(kept: CheckpointStore) -> None:
    await kept.save("lobby", saved_at(1.0), OWNER)
    await kept.save("gate", saved_at(2.0), OWNER)
    await kept.delete("gate")
    assert await kept.load("gate", FACTS.fingerprint) is None
    assert await kept.load("lobby", FACTS.fingerprint) is not None


async def test_deleting_what_is_not_there_is_no_error(kept: CheckpointStore) -> None:
    await kept.delete("nobody")


def raw(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


@pytest.mark.redis
async def test_only_two_generations_are_kept(server_url: str, in_redis: RedisCheckpointStore) -> None:
    for moment in range(5):
        await in_redis.save("lobby", saved_at(float(moment)), OWNER)
    with raw(server_url) as client:
        assert client.llen("hermes:{lobby}:manifests") == 2
        assert len(client.keys("hermes:{lobby}:*:0")) == 2
    await in_redis.delete("lobby")
    with raw(server_url) as client:
        assert client.keys("hermes:{lobby}:*") == [b"hermes:{lobby}:owner"]


@pytest.mark.redis
@pytest.mark.parametrize("fault", ["missing", "changed", "manifest", "of a later version", "of another camera"])
async def test_a_broken_generation_falls_back_to_the_older_one(
    server_url: str, in_redis: RedisCheckpointStore, fault: str
) -> None:
    await in_redis.save("lobby", saved_at(1.0), OWNER)
    await in_redis.save("lobby", saved_at(2.0), OWNER)
    with raw(server_url) as client:
        newest = client.lindex("hermes:{lobby}:manifests", 0)
        chunk = Manifest.from_text(newest).chunks[0].key
        if fault == "missing":
            client.delete(chunk)
        elif fault == "changed":
            client.setrange(chunk, 100, b"\0\1\2")
        elif fault.startswith("of "):
            found = Manifest.from_text(newest)
            other = {"schema_version": 99} if fault == "of a later version" else {"camera": "gate"}
            client.lset("hermes:{lobby}:manifests", 0, dataclasses.replace(found, **other).to_text())
        else:
            client.lset("hermes:{lobby}:manifests", 0, b"{")
    loaded = await in_redis.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 1.0


@pytest.mark.redis
async def test_when_all_generations_are_broken_it_says_so(server_url: str, in_redis: RedisCheckpointStore) -> None:
    await in_redis.save("lobby", saved_at(1.0), OWNER)
    with raw(server_url) as client:
        client.delete(*client.keys("hermes:{lobby}:*:0"))
    with pytest.raises(CheckpointCorrupt, match="is missing"):
        await in_redis.load("lobby", FACTS.fingerprint)


@pytest.mark.redis
async def test_a_store_that_is_down_is_named_without_its_password() -> None:
    kept = RedisCheckpointStore("redis://user:canary@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as raised:
        await kept.ping()
    assert "canary" not in str(raised.value)
    await kept.close()


@given(sizes=st.lists(st.integers(0, 9), max_size=12), nbytes=st.integers(1, 7))
def test_pieces_are_the_same_bytes_and_what_fits_in_one_is_not_cut(sizes: list[int], nbytes: int) -> None:
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    pieces = list(manifest.pieces_of(map(memoryview, parts), nbytes))
    assert b"".join(pieces) == b"".join(parts)
    assert all(0 < len(piece) <= nbytes for piece in pieces)
    for part in parts:
        if 0 < len(part) <= nbytes:
            assert any(part in piece for piece in pieces)


def test_the_folder_of_a_socket_is_all_that_is_shown(tmp_path: Path) -> None:
    shown = RedisCheckpointStore(f"unix://{tmp_path}/s?password=canary")
    assert "canary" not in repr(vars(vars(shown)["_connection"])["address"])


def with_pictures(saved: Checkpoint, thumbnails: dict[int, bytes]) -> Checkpoint:
    return dataclasses.replace(saved, thumbnails=thumbnails)


def picture_keys(url: str) -> int:
    with raw(url) as client:
        return len(client.keys("hermes:{lobby}:picture:*"))


@pytest.mark.redis
async def test_a_picture_is_written_once_and_goes_with_the_last_generation_that_shows_it(
    server_url: str, in_redis: RedisCheckpointStore
) -> None:
    shared, early, late = b"shared", b"early", b"late"
    await in_redis.save("lobby", with_pictures(saved_at(1.0), {1: shared, 2: early}), OWNER)
    with raw(server_url) as client:
        written = client.info("commandstats")["cmdstat_set"]["calls"]
    await in_redis.save("lobby", with_pictures(saved_at(2.0), {1: shared, 3: late}), OWNER)
    with raw(server_url) as client:
        assert client.info("commandstats")["cmdstat_set"]["calls"] == written + 2
    assert picture_keys(server_url) == 3

    await in_redis.save("lobby", with_pictures(saved_at(3.0), {1: shared, 3: late}), OWNER)

    assert picture_keys(server_url) == 2
    loaded = await in_redis.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.thumbnails == {1: shared, 3: late}


@pytest.mark.redis
async def test_frames_that_are_counted_anew_do_not_show_the_pictures_of_before(
    in_redis: RedisCheckpointStore,
) -> None:
    """As of a camera that is removed and added again."""
    await in_redis.save("lobby", with_pictures(saved_at(1.0), {1: b"before"}), OWNER)
    await in_redis.save("lobby", with_pictures(saved_at(2.0), {1: b"after!"}), OWNER)
    loaded = await in_redis.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.thumbnails == {1: b"after!"}


@pytest.mark.redis
async def test_a_picture_that_is_gone_is_left_out_and_written_again(
    server_url: str, in_redis: RedisCheckpointStore
) -> None:
    saved = with_pictures(saved_at(1.0), {1: b"one", 2: b"two"})
    await in_redis.save("lobby", saved, OWNER)
    with raw(server_url) as client:
        client.delete(client.keys("hermes:{lobby}:picture:*")[0])

    loaded = await in_redis.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert len(loaded.thumbnails) == 1

    await in_redis.save("lobby", saved, OWNER)
    assert picture_keys(server_url) == 2
    assert lifetimes(server_url) == {-1}


@pytest.mark.redis
async def test_a_commit_that_names_what_is_gone_is_refused(server_url: str, in_redis: RedisCheckpointStore) -> None:
    saved = with_pictures(saved_at(1.0), {1: b"one"})
    await in_redis.save("lobby", saved, OWNER)
    with raw(server_url) as client:
        client.delete(client.keys("hermes:{lobby}:picture:*")[0])

    with pytest.raises(StoreUnavailable, match="was missing at the commit"):
        await in_redis.save("lobby", saved, OWNER)
    await in_redis.save("lobby", saved, OWNER)

    assert picture_keys(server_url) == 1


def seen_more(saved: Checkpoint, saved_s: float) -> Checkpoint:
    """The checkpoint of the same memory after frames of which nothing was read."""
    facts = dataclasses.replace(saved.facts, saved_s=saved_s, newest_s=saved_s, frames_seen=saved.facts.frames_seen + 8)
    return dataclasses.replace(saved, facts=facts)


async def test_of_a_memory_that_read_nothing_more_the_newest_facts_come_back(kept: CheckpointStore) -> None:
    saved = saved_at(1.0)
    await kept.save("lobby", saved, OWNER)

    await kept.save("lobby", seen_more(saved, 2.0), OWNER)

    loaded = await kept.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts == seen_more(saved, 2.0).facts
    assert_equal(loaded, seen_more(saved, 2.0))


async def test_rows_come_back_as_they_were_written_whatever_the_next_ones_are(kept: CheckpointStore) -> None:
    """Of one memory, first in int8 and then exactly, as of a camera that moves."""
    saved = saved_at(1.0)
    coarse = dataclasses.replace(saved, facts=dataclasses.replace(saved.facts, rows=RowFormat.INT8))

    await kept.save("lobby", coarse, OWNER)
    first = await kept.load("lobby", FACTS.fingerprint)
    await kept.save("lobby", saved, OWNER)
    second = await kept.load("lobby", FACTS.fingerprint)

    assert first is not None
    assert second is not None
    assert first.facts.rows is RowFormat.INT8
    assert not torch.equal(first.layers[0].keys, saved.layers[0].keys)
    assert torch.allclose(first.layers[0].keys, saved.layers[0].keys, atol=0.05)
    assert_equal(second, saved)


def input_nbytes(url: str) -> int:
    with raw(url) as client:
        return int(client.info("stats")["total_net_input_bytes"])


@pytest.mark.redis
async def test_a_memory_that_read_nothing_more_is_not_written_again_and_the_older_generation_stays(
    server_url: str, in_redis: RedisCheckpointStore
) -> None:
    await in_redis.save("lobby", saved_at(1.0), OWNER)
    saved = with_pictures(saved_at(2.0), {1: b"one"})
    await in_redis.save("lobby", saved, OWNER)
    with raw(server_url) as client:
        keys = sorted(client.keys("*"))
    before = input_nbytes(server_url)
    for moment in (3.0, 4.0, 5.0):
        await in_redis.save("lobby", seen_more(saved, moment), OWNER)

    assert input_nbytes(server_url) - before < saved.nbytes
    with raw(server_url) as client:
        assert sorted(client.keys("*")) == keys
        found = [Manifest.from_text(text).facts.saved_s for text in client.lrange("hermes:{lobby}:manifests", 0, -1)]
    assert found == [5.0, 1.0]


@pytest.mark.redis
async def test_a_memory_whose_chunks_are_gone_is_written_again(server_url: str, in_redis: RedisCheckpointStore) -> None:
    saved = saved_at(1.0)
    await in_redis.save("lobby", saved, OWNER)
    with raw(server_url) as client:
        client.delete(*client.keys("hermes:{lobby}:*:0"))

    with pytest.raises(StoreUnavailable, match="was missing at the commit"):
        await in_redis.save("lobby", seen_more(saved, 2.0), OWNER)
    await in_redis.save("lobby", seen_more(saved, 3.0), OWNER)

    loaded = await in_redis.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert_equal(loaded, seen_more(saved, 3.0))


@pytest.mark.redis
async def test_what_is_committed_never_expires(server_url: str, in_redis: RedisCheckpointStore) -> None:
    for moment, pictures in ((1.0, {1: b"one"}), (2.0, {1: b"one", 2: b"two"}), (3.0, {2: b"two", 3: b"three"})):
        await in_redis.save("lobby", with_pictures(saved_at(moment), pictures), OWNER)
        assert lifetimes(server_url) == {-1}


@pytest.mark.redis
async def test_what_a_save_before_left_behind_does_not_expire_once_it_is_committed(
    server_url: str, in_redis: RedisCheckpointStore
) -> None:
    """As of one whose answer never came."""
    saved = with_pictures(saved_at(1.0), {1: b"one"})
    with raw(server_url) as client:
        client.set(f"hermes:{{lobby}}:picture:{hashlib.sha256(b'one').hexdigest()}", b"one", px=60_000)
    await in_redis.save("lobby", saved, OWNER)
    assert lifetimes(server_url) == {-1}


@pytest.mark.redis
async def test_more_pictures_than_a_script_may_look_for_at_once(in_redis: RedisCheckpointStore) -> None:
    pictures = {frame: f"picture {frame}".encode() for frame in range(2_500)}
    await in_redis.save("lobby", with_pictures(saved_at(1.0), pictures), OWNER)
    loaded = await in_redis.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.thumbnails == pictures


def lifetimes(url: str) -> set[int]:
    """In milliseconds, of every key of the camera; -1 of one that stays."""
    with raw(url) as client:
        return {client.pttl(key) for key in client.keys("hermes:{lobby}:*")}
