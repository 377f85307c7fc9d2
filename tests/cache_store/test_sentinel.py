"""One primary, one replica and three Sentinels: what a failover may lose, and what it may not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from cache_store import redis_preflight
from cache_store.errors import OwnedByAnother, StoreNotReplicated, StoreUnavailable, StoreUnfit
from cache_store.leases import UNOWNED_EXPIRY, LeaseExpiry
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from tests import servers
from tests.cache_store.test_checkpoint import FACTS, saved_at
from tests.servers import VALKEY, Server

pytestmark = [pytest.mark.redis, pytest.mark.slow]

SERVICE = "cameras"
PATIENCE_S = 40.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watched:
    """The two servers, their Sentinels, and the URL by which the primary is found."""

    first: Server
    second: Server
    guards: list[Server]
    url: str


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        start = stack.enter_context
        first = start(servers.running(VALKEY, tmp_path / "first", repl_diskless_sync_delay="0"))
        second = start(servers.running(VALKEY, tmp_path / "second", repl_diskless_sync_delay="0"))
        second.client().replicaof("127.0.0.1", str(first.port))
        guards = [start(servers.sentinel(tmp_path / f"guard{number}", first, SERVICE)) for number in range(3)]
        _until(lambda: first.client().info("replication")["connected_slaves"] == 1)
        for guard in guards:
            _until(lambda guard=guard: guard.client().sentinel_master(SERVICE)["num-other-sentinels"] == 2)
            _until(lambda guard=guard: guard.client().sentinel_master(SERVICE)["num-slaves"] == 1)
        doors = ",".join(f"127.0.0.1:{guard.port}" for guard in guards)
        yield Watched(first, second, guards, f"redis+sentinel://{doors}/{SERVICE}")


@dataclass(frozen=True, slots=True)
class Shard:
    """What one shard has of the store."""

    leases: RedisLeases
    store: RedisCheckpointStore


@pytest_asyncio.fixture
async def shards(watched: Watched) -> AsyncIterator[tuple[Shard, Shard]]:
    both = tuple(Shard(RedisLeases(watched.url), RedisCheckpointStore(watched.url)) for _ in range(2))
    yield both[0], both[1]
    for shard in both:
        await shard.leases.close()
        await shard.store.close()


async def test_a_failover_loses_no_epoch_and_a_primary_of_before_shows_nobody_what_it_took(
    watched: Watched, shards: tuple[Shard, Shard]
) -> None:
    stale, next_one = shards
    before = await stale.leases.acquire("lobby", "stale", expiry=UNOWNED_EXPIRY)
    await stale.store.save("lobby", saved_at(1.0), before)
    with watched.first.client() as client:
        assert client.wait(1, 5_000) == 1

    watched.first.pause()
    epoch_of_before = (await _patiently(lambda: next_one.leases.owner("lobby"))).epoch
    assert epoch_of_before == before.epoch
    # Its only replica is the primary by now, and has none of its own: no camera is granted until there is one.
    with pytest.raises(StoreNotReplicated, match="no replica confirmed it within 500 ms"):
        await next_one.leases.acquire("lobby", "next", expiry=LeaseExpiry("stale", None, is_dead=True))

    # Until a Sentinel tells it, the primary of before takes writes: here for as long as they are all asleep.
    assert await next_one.store.load("lobby", FACTS.fingerprint)
    for guard in watched.guards:
        guard.pause()
    watched.first.go_on()
    with watched.first.client() as client:
        assert client.role()[0] == b"master"
    await stale.store.save("lobby", saved_at(2.0), before)
    loaded = await next_one.store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 1.0
    for guard in watched.guards:
        guard.go_on()

    after = await _patiently(
        lambda: next_one.leases.acquire("lobby", "next", expiry=LeaseExpiry("stale", None, is_dead=True))
    )
    assert after.epoch > before.epoch
    await next_one.store.save("lobby", saved_at(3.0), after)
    with pytest.raises(OwnedByAnother) as raised:
        await _patiently(lambda: stale.store.save("lobby", saved_at(4.0), before))
    assert raised.value.incarnation == "next"
    for shard in shards:
        seen = await shard.store.load("lobby", FACTS.fingerprint)
        assert seen is not None
        assert seen.facts.saved_s == 3.0


async def test_a_camera_is_granted_only_when_a_replica_knows_it(watched: Watched, shards: tuple[Shard, Shard]) -> None:
    owner = await shards[0].leases.acquire("lobby", "me", expiry=UNOWNED_EXPIRY)
    with watched.second.client() as client:
        assert int(client.hget("hermes:{lobby}:owner", "epoch")) == owner.epoch

    watched.second.pause()
    for _ in range(2):
        with pytest.raises(StoreNotReplicated):
            await shards[0].leases.acquire("yard", "me", expiry=UNOWNED_EXPIRY)
    watched.second.go_on()

    granted = await _patiently(lambda: shards[0].leases.acquire("yard", "me"))
    assert await shards[0].leases.owner("yard") == granted


async def test_what_sentinels_say_is_examined_too(watched: Watched) -> None:
    assert "1 replica" in await redis_preflight.require(watched.url)
    with watched.second.client() as client:
        client.replicaof("NO", "ONE")
        await asyncio.sleep(0.1)
        with pytest.raises(StoreUnfit, match="its primary has no replica"):
            await redis_preflight.require(watched.url)


async def test_sentinels_that_are_away_are_said_to_be_in_time() -> None:
    client = RedisLeases("redis+sentinel://user:canary@127.0.0.1:1,127.0.0.1:2/cameras")
    began_s = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2/cameras") as raised:
        await client.owner("lobby")
    assert time.monotonic() - began_s < 2.0
    assert "canary" not in str(raised.value)
    await client.close()


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """What comes of it in the end: while a failover goes on, the store is away."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.2)


def _until(is_true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < until_s
        time.sleep(0.1)
