"""What every checkpoint store promises; the Redis one against a real Valkey."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from cache_store import checkpoint, leases, redis_leases, redis_store, store
from tests.cache_store.test_checkpoint import FACTS, assert_equal, saved_at


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[store.CheckpointStore]:
    if request.param == "memory":
        yield store.InMemoryCheckpointStore(NOBODY_ELSE)
        return
    async with owned(request.getfixturevalue("valkey_url")) as client:
        yield client


@pytest_asyncio.fixture
async def in_valkey(valkey_url: str) -> AsyncIterator[redis_store.RedisCheckpointStore]:
    async with owned(valkey_url) as client:
        yield client


@asynccontextmanager
async def owned(valkey_url: str) -> AsyncIterator[redis_store.RedisCheckpointStore]:
    """A store in which the cameras of these tests have their owner; empty again afterwards."""
    client, granted_by = redis_store.RedisCheckpointStore(valkey_url), redis_leases.RedisLeases(valkey_url)
    for camera in ("lobby", "gate"):
        await granted_by.acquire(camera, OWNER.incarnation, floor=OWNER.epoch - 1, gone=leases.MINE)
    yield client
    await client.close()
    await granted_by.close()
    with redis.Redis.from_url(valkey_url) as cleaner:
        cleaner.flushall()


class OneOwner(leases.InMemoryLeases):
    """Grants every camera to one owner from the beginning."""

    async def owner(self, camera: str) -> leases.Owner | None:
        return OWNER


OWNER = leases.Owner(9_000_000_000_000, "me")
NOBODY_ELSE = OneOwner()


async def test_it_answers_a_ping(kept: store.CheckpointStore) -> None:
    await kept.ping()


async def test_an_unknown_camera_has_no_checkpoint(kept: store.CheckpointStore) -> None:
    assert await kept.load("lobby", FACTS.fingerprint) is None


async def test_the_newest_checkpoint_comes_back_exactly(kept: store.CheckpointStore) -> None:
    for moment in (1.0, 2.0, 3.0):
        await kept.save("lobby", saved_at(moment), OWNER)
    loaded = await kept.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert_equal(loaded, saved_at(3.0))


async def test_an_older_generation_of_this_model_is_better_than_the_newest_of_another(
    kept: store.CheckpointStore,
) -> None:
    await kept.save("lobby", saved_at(1.0), OWNER)
    other = saved_at(2.0)
    await kept.save("lobby", dataclasses.replace(other, facts=dataclasses.replace(other.facts, fingerprint="x")), OWNER)

    loaded = await kept.load("lobby", FACTS.fingerprint)

    assert loaded is not None
    assert loaded.facts.saved_s == 1.0
    with pytest.raises(checkpoint.CheckpointCorrupt, match="manifest of model"):
        await kept.load("lobby", "y")


async def test_cameras_do_not_see_each_other(kept: store.CheckpointStore) -> None:
    await kept.save("lobby", saved_at(1.0), OWNER)
    await kept.save("gate", saved_at(2.0), OWNER)
    await kept.delete("gate")
    assert await kept.load("gate", FACTS.fingerprint) is None
    assert await kept.load("lobby", FACTS.fingerprint) is not None


async def test_deleting_what_is_not_there_is_no_error(kept: store.CheckpointStore) -> None:
    await kept.delete("nobody")


def raw(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


@pytest.mark.redis
async def test_only_two_generations_are_kept(valkey_url: str, in_valkey: redis_store.RedisCheckpointStore) -> None:
    for moment in range(5):
        await in_valkey.save("lobby", saved_at(float(moment)), OWNER)
    with raw(valkey_url) as client:
        assert client.llen("hermes:{lobby}:manifests") == 2
        assert len(client.keys("hermes:{lobby}:*")) == 4
    await in_valkey.delete("lobby")
    with raw(valkey_url) as client:
        assert client.keys("hermes:{lobby}:*") == [b"hermes:{lobby}:owner"]


@pytest.mark.redis
async def test_a_commit_that_is_sent_twice_counts_once(
    valkey_url: str, in_valkey: redis_store.RedisCheckpointStore
) -> None:
    """As by a client that heard no answer to the first."""
    await in_valkey.save("lobby", saved_at(1.0), OWNER)
    keys = ["hermes:{lobby}:owner", "hermes:{lobby}:manifests"]
    with raw(valkey_url) as client:
        newest = client.lindex(keys[1], 0)
        again = client.eval(redis_store._COMMIT, 2, *keys, OWNER.epoch, OWNER.incarnation, newest, store.GENERATIONS)
        assert again == [1, []]
        assert client.llen(keys[1]) == 1


@pytest.mark.redis
@pytest.mark.parametrize("fault", ["missing", "changed", "manifest", "of a later version", "of another camera"])
async def test_a_broken_generation_falls_back_to_the_older_one(
    valkey_url: str, in_valkey: redis_store.RedisCheckpointStore, fault: str
) -> None:
    await in_valkey.save("lobby", saved_at(1.0), OWNER)
    await in_valkey.save("lobby", saved_at(2.0), OWNER)
    with raw(valkey_url) as client:
        newest = client.lindex("hermes:{lobby}:manifests", 0)
        chunk = store.read_manifest(newest).chunks[0].key
        if fault == "missing":
            client.delete(chunk)
        elif fault == "changed":
            client.setrange(chunk, 100, b"\0\1\2")
        elif fault.startswith("of "):
            found = store.read_manifest(newest)
            other = {"schema_version": 99} if fault == "of a later version" else {"camera": "gate"}
            client.lset("hermes:{lobby}:manifests", 0, dataclasses.replace(found, **other).to_text())
        else:
            client.lset("hermes:{lobby}:manifests", 0, b"{")
    loaded = await in_valkey.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 1.0


@pytest.mark.redis
async def test_when_all_generations_are_broken_it_says_so(
    valkey_url: str, in_valkey: redis_store.RedisCheckpointStore
) -> None:
    await in_valkey.save("lobby", saved_at(1.0), OWNER)
    with raw(valkey_url) as client:
        client.delete(*client.keys("hermes:{lobby}:*:0"))
    with pytest.raises(checkpoint.CheckpointCorrupt, match="is missing"):
        await in_valkey.load("lobby", FACTS.fingerprint)


@pytest.mark.redis
async def test_a_store_that_is_down_is_named_without_its_password() -> None:
    kept = redis_store.RedisCheckpointStore("redis://user:canary@127.0.0.1:1/0")
    with pytest.raises(checkpoint.StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as raised:
        await kept.ping()
    assert "canary" not in str(raised.value)
    await kept.close()


def test_a_checkpoint_is_cut_into_bounded_pieces() -> None:
    pieces = store.cut("p", bytes(2 * store.CHUNK_NBYTES + 5))
    assert [chunk.nbytes for chunk in pieces] == [store.CHUNK_NBYTES, store.CHUNK_NBYTES, 5]
    assert store.joined(list(pieces), list(pieces.values())) == bytes(2 * store.CHUNK_NBYTES + 5)


def test_the_folder_of_a_socket_is_all_that_is_shown(tmp_path: Path) -> None:
    shown = redis_store.RedisCheckpointStore(f"unix://{tmp_path}/s?password=canary")
    assert "canary" not in repr(vars(vars(shown)["_connection"])["where"])


@pytest.mark.redis
@pytest.mark.parametrize(
    ("setting", "value", "usual", "told"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "maxmemory-policy is allkeys-lru.*use noeviction"),
        ("appendonly", "no", "yes", "no append-only file.*use appendonly yes"),
    ],
)
async def test_a_store_that_would_lose_data_is_refused_with_the_setting_named(
    valkey_url: str, setting: str, value: str, usual: str, told: str
) -> None:
    with raw(valkey_url) as client:
        client.config_set("appendonly", "yes")
        client.config_set(setting, value)
        try:
            with pytest.raises(checkpoint.StoreUnfit, match=told):
                await redis_store.require(valkey_url, is_durable=True)
        finally:
            client.config_set(setting, usual)
    assert "noeviction, append-only file" in await redis_store.require(valkey_url, is_durable=True)


@pytest.mark.redis
async def test_a_store_without_the_rights_is_refused(valkey_url: str) -> None:
    with raw(valkey_url) as client:
        client.acl_setuser("reader", enabled=True, passwords=["+canary"], commands=["+info"], keys=["*"])
        try:
            door = valkey_url.removeprefix("unix://")
            with pytest.raises(checkpoint.StoreUnavailable, match="NoPermission") as raised:
                await redis_store.require(f"unix://reader:canary@{door}")
        finally:
            client.acl_deluser("reader")
    assert "canary" not in str(raised.value)


@pytest.mark.redis
async def test_a_replica_is_refused(valkey_url: str) -> None:
    with raw(valkey_url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(checkpoint.StoreError, match=r"a replica|read only"):
                await redis_store.require(valkey_url)
        finally:
            client.replicaof("NO", "ONE")
