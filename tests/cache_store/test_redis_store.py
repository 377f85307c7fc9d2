"""The checkpoint store on real servers: its keys, its thumbnails, what it writes and what it deletes."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from cache_store.checkpoint_upload import CheckpointUpload
from cache_store.errors import CameraFenced, CheckpointCorrupt, StoreUnavailable
from cache_store.manifest import Manifest
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from tests.cache_store.test_checkpoint import FACTS, assert_equal, saved_at
from tests.cache_store.test_store_contract import OWNER, store_with_owners, with_more_frames, with_thumbnails

pytestmark = pytest.mark.redis


@pytest_asyncio.fixture
async def redis_store(server_url: str) -> AsyncIterator[RedisCheckpointStore]:
    async with store_with_owners(server_url) as store:
        yield store


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


def num_thumbnails(url: str) -> int:
    with client_of(url) as client:
        return len(client.keys("hermes:{lobby}:picture:*"))


def received_nbytes(url: str) -> int:
    with client_of(url) as client:
        return int(client.info("stats")["total_net_input_bytes"])


def ttls_ms(url: str) -> set[int]:
    """The times to live of all keys of the camera; -1 for a key without one."""
    with client_of(url) as client:
        return {client.pttl(key) for key in client.keys("hermes:{lobby}:*")}


async def test_of_a_camera_that_left_nothing_stays_in_the_process(redis_store: RedisCheckpointStore) -> None:
    """Each camera that had ever been on a shard left its thumbnails there, some megabytes."""
    jpeg = os.urandom(1_000)
    saved = with_thumbnails(saved_at(1.0), {7: jpeg})
    alone = sys.getrefcount(jpeg)
    await redis_store.save("lobby", saved, OWNER)
    assert sys.getrefcount(jpeg) > alone

    redis_store.end("lobby")

    gc.collect()  # tasks that have ended refer to each other
    assert sys.getrefcount(jpeg) == alone


async def test_only_two_generations_are_kept(server_url: str, redis_store: RedisCheckpointStore) -> None:
    for moment in range(5):
        await redis_store.save("lobby", saved_at(float(moment)), OWNER)
    with client_of(server_url) as client:
        assert client.llen("hermes:{lobby}:manifests") == 2
        assert len(client.keys("hermes:{lobby}:*:0")) == 2
    await redis_store.delete("lobby", OWNER)
    with client_of(server_url) as client:
        assert client.keys("hermes:{lobby}:*") == [b"hermes:{lobby}:owner"]


@pytest.mark.parametrize("fault", ["missing", "changed", "manifest", "of a later version", "of another camera"])
async def test_instead_of_a_corrupt_generation_the_older_one_is_loaded(
    server_url: str, redis_store: RedisCheckpointStore, fault: str
) -> None:
    await redis_store.save("lobby", saved_at(1.0), OWNER)
    await redis_store.save("lobby", saved_at(2.0), OWNER)
    with client_of(server_url) as client:
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
    loaded = await redis_store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 1.0


async def test_corrupt_generations_alone_are_an_error(server_url: str, redis_store: RedisCheckpointStore) -> None:
    await redis_store.save("lobby", saved_at(1.0), OWNER)
    with client_of(server_url) as client:
        client.delete(*client.keys("hermes:{lobby}:*:0"))
    with pytest.raises(CheckpointCorrupt, match="is missing"):
        await redis_store.load("lobby", FACTS.fingerprint)


async def test_the_error_of_an_unreachable_store_shows_no_password() -> None:
    store = RedisCheckpointStore("redis://user:canary@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as raised:
        await store.load("lobby", FACTS.fingerprint)
    assert "canary" not in str(raised.value)
    await store.close()


def test_the_address_of_a_socket_shows_no_password(tmp_path: Path) -> None:
    store = RedisCheckpointStore(f"unix://{tmp_path}/s?password=canary")
    assert "canary" not in repr(vars(vars(store)["_connection"])["address"])


async def test_a_thumbnail_is_written_once_and_deleted_with_the_last_generation_that_names_it(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    shared, early, late = b"shared", b"early", b"late"
    await redis_store.save("lobby", with_thumbnails(saved_at(1.0), {1: shared, 2: early}), OWNER)
    with client_of(server_url) as client:
        written = client.info("commandstats")["cmdstat_set"]["calls"]
    await redis_store.save("lobby", with_thumbnails(saved_at(2.0), {1: shared, 3: late}), OWNER)
    with client_of(server_url) as client:
        assert client.info("commandstats")["cmdstat_set"]["calls"] == written + 2
    assert num_thumbnails(server_url) == 3

    await redis_store.save("lobby", with_thumbnails(saved_at(3.0), {1: shared, 3: late}), OWNER)

    assert num_thumbnails(server_url) == 2
    loaded = await redis_store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.thumbnails == {1: shared, 3: late}


async def test_a_frame_number_that_is_used_again_has_its_new_thumbnail(
    redis_store: RedisCheckpointStore,
) -> None:
    """As for a camera that is removed and added again."""
    await redis_store.save("lobby", with_thumbnails(saved_at(1.0), {1: b"before"}), OWNER)
    await redis_store.save("lobby", with_thumbnails(saved_at(2.0), {1: b"after!"}), OWNER)
    loaded = await redis_store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.thumbnails == {1: b"after!"}


async def test_a_missing_thumbnail_is_left_out_and_written_again(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    saved = with_thumbnails(saved_at(1.0), {1: b"one", 2: b"two"})
    await redis_store.save("lobby", saved, OWNER)
    with client_of(server_url) as client:
        client.delete(client.keys("hermes:{lobby}:picture:*")[0])

    loaded = await redis_store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert len(loaded.thumbnails) == 1

    await redis_store.save("lobby", saved, OWNER)
    assert num_thumbnails(server_url) == 2
    assert ttls_ms(server_url) == {-1}


async def test_a_thumbnail_that_the_store_has_lost_is_written_again(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    """By the same save, which may be the last one: of a memory that is handed over, or of a system that ends."""
    saved = with_thumbnails(saved_at(1.0), {1: b"one"})
    await redis_store.save("lobby", saved, OWNER)
    with client_of(server_url) as client:
        client.delete(client.keys("hermes:{lobby}:picture:*")[0])

    await redis_store.save("lobby", saved, OWNER)

    assert num_thumbnails(server_url) == 1


async def test_a_memory_without_new_tokens_is_not_written_again_and_the_older_generation_stays(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    await redis_store.save("lobby", saved_at(1.0), OWNER)
    saved = with_thumbnails(saved_at(2.0), {1: b"one"})
    await redis_store.save("lobby", saved, OWNER)
    with client_of(server_url) as client:
        keys = sorted(client.keys("*"))
    before = received_nbytes(server_url)
    for moment in (3.0, 4.0, 5.0):
        await redis_store.save("lobby", with_more_frames(saved, moment), OWNER)

    assert received_nbytes(server_url) - before < saved.nbytes
    with client_of(server_url) as client:
        assert sorted(client.keys("*")) == keys
        found = [Manifest.from_text(text).facts.saved_s for text in client.lrange("hermes:{lobby}:manifests", 0, -1)]
    assert found == [5.0, 1.0]


async def test_a_memory_whose_chunks_are_missing_is_written_again(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    saved = saved_at(1.0)
    await redis_store.save("lobby", saved, OWNER)
    with client_of(server_url) as client:
        client.delete(*client.keys("hermes:{lobby}:*:0"))

    await redis_store.save("lobby", with_more_frames(saved, 3.0), OWNER)

    loaded = await redis_store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert_equal(loaded, with_more_frames(saved, 3.0))


async def test_committed_keys_never_expire(server_url: str, redis_store: RedisCheckpointStore) -> None:
    for moment, thumbnails in ((1.0, {1: b"one"}), (2.0, {1: b"one", 2: b"two"}), (3.0, {2: b"two", 3: b"three"})):
        await redis_store.save("lobby", with_thumbnails(saved_at(moment), thumbnails), OWNER)
        assert ttls_ms(server_url) == {-1}


async def test_a_save_begun_before_the_fence_leaves_nothing_for_good(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    """Its chunks are written when the camera is fenced and its checkpoints are deleted; its commit comes after that."""
    leases = RedisLeases(server_url)
    await redis_store.save("lobby", with_thumbnails(saved_at(1.0), {1: b"one"}), OWNER)
    late = with_thumbnails(with_more_frames(saved_at(2.0), 2.0), {1: b"one", 2: b"two"})
    before_commit = RedisCheckpointStore(server_url)
    begun = CheckpointUpload("hermes:{lobby}", "lobby", late, OWNER).batches(1)
    written = [batch for batch in begun if batch.values]
    for batch in written:
        await before_commit._write(batch.values)

    await redis_store.delete("lobby", await leases.fence("lobby"))
    with pytest.raises(CameraFenced):
        await redis_store.save("lobby", late, OWNER)

    assert len(written) > 2
    assert -1 not in ttls_ms(server_url)
    for client in (leases, before_commit):
        await client.close()


async def test_a_key_that_an_earlier_save_left_does_not_expire_once_it_is_committed(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    """As after a save whose answer never came."""
    saved = with_thumbnails(saved_at(1.0), {1: b"one"})
    with client_of(server_url) as client:
        client.set(f"hermes:{{lobby}}:picture:{hashlib.sha256(b'one').hexdigest()}", b"one", px=60_000)
    await redis_store.save("lobby", saved, OWNER)
    assert ttls_ms(server_url) == {-1}


async def test_more_thumbnails_than_one_call_of_a_script_can_check(redis_store: RedisCheckpointStore) -> None:
    thumbnails = {frame: f"picture {frame}".encode() for frame in range(2_500)}
    await redis_store.save("lobby", with_thumbnails(saved_at(1.0), thumbnails), OWNER)
    loaded = await redis_store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.thumbnails == thumbnails
