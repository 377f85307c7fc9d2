"""One primary, one replica and three Sentinels: what a failover can lose and what it cannot."""

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
TIMEOUT_S = 40.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Service:
    """The two servers, their Sentinels, and the URL that finds the primary."""

    first: Server
    second: Server
    sentinels: list[Server]
    url: str


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        start = stack.enter_context
        first = start(servers.running(VALKEY, tmp_path / "first", repl_diskless_sync_delay="0"))
        second = start(servers.running(VALKEY, tmp_path / "second", repl_diskless_sync_delay="0"))
        second.client().replicaof("127.0.0.1", str(first.port))
        sentinels = [start(servers.sentinel(tmp_path / f"sentinel{number}", first, SERVICE)) for number in range(3)]
        _until(lambda: first.client().info("replication")["connected_slaves"] == 1)
        for sentinel in sentinels:
            _until(lambda sentinel=sentinel: sentinel.client().sentinel_master(SERVICE)["num-other-sentinels"] == 2)
            _until(lambda sentinel=sentinel: sentinel.client().sentinel_master(SERVICE)["num-slaves"] == 1)
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        yield Service(first, second, sentinels, f"redis+sentinel://{addresses}/{SERVICE}")


@dataclass(frozen=True, slots=True)
class Shard:
    """The connections of one shard."""

    leases: RedisLeases
    store: RedisCheckpointStore


@pytest_asyncio.fixture
async def shards(service: Service) -> AsyncIterator[tuple[Shard, Shard]]:
    shards = tuple(Shard(RedisLeases(service.url), RedisCheckpointStore(service.url)) for _ in range(2))
    yield shards[0], shards[1]
    for shard in shards:
        await shard.leases.close()
        await shard.store.close()


async def test_a_failover_loses_no_epoch_and_no_reader_sees_what_a_former_primary_accepts(
    service: Service, shards: tuple[Shard, Shard]
) -> None:
    stale, successor = shards
    before = await stale.leases.acquire("lobby", "stale", expiry=UNOWNED_EXPIRY)
    await stale.store.save("lobby", saved_at(1.0), before)
    with service.first.client() as client:
        assert client.wait(1, 5_000) == 1

    service.first.pause()
    assert await _retried(lambda: successor.leases.owner("lobby")) == before
    # The former replica is the primary now and has no replica, so no camera is granted until there is one.
    with pytest.raises(StoreNotReplicated, match=r"no replica confirmed the owner of camera .* within 500 ms"):
        await successor.leases.acquire("lobby", "next", expiry=LeaseExpiry("stale", None, is_dead=True))

    # The former primary takes writes until a Sentinel demotes it: here as long as all Sentinels are paused.
    assert await successor.store.load("lobby", FACTS.fingerprint)
    for sentinel in service.sentinels:
        sentinel.pause()
    service.first.go_on()
    with service.first.client() as client:
        assert client.role()[0] == b"master"
    await stale.store.save("lobby", saved_at(2.0), before)
    loaded = await successor.store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 1.0
    for sentinel in service.sentinels:
        sentinel.go_on()

    after = await _retried(
        lambda: successor.leases.acquire("lobby", "next", expiry=LeaseExpiry("stale", None, is_dead=True))
    )
    assert after.epoch > before.epoch
    await successor.store.save("lobby", saved_at(3.0), after)
    with pytest.raises(OwnedByAnother) as raised:
        await _retried(lambda: stale.store.save("lobby", saved_at(4.0), before))
    assert raised.value.incarnation == "next"
    for shard in shards:
        loaded = await shard.store.load("lobby", FACTS.fingerprint)
        assert loaded is not None
        assert loaded.facts.saved_s == 3.0


async def test_a_camera_is_granted_only_when_a_replica_has_the_grant(
    service: Service, shards: tuple[Shard, Shard]
) -> None:
    owner = await shards[0].leases.acquire("lobby", "me", expiry=UNOWNED_EXPIRY)
    with service.second.client() as client:
        assert int(client.hget("hermes:{lobby}:owner", "epoch")) == owner.epoch

    service.second.pause()
    for _ in range(2):
        with pytest.raises(StoreNotReplicated):
            await shards[0].leases.acquire("yard", "me", expiry=UNOWNED_EXPIRY)
    service.second.go_on()

    granted = await _retried(lambda: shards[0].leases.acquire("yard", "me"))
    assert await shards[0].leases.owner("yard") == granted


async def test_the_preflight_checks_the_primary_behind_sentinels(service: Service) -> None:
    assert "1 replica" in (await redis_preflight.require(service.url)).description
    with service.second.client() as client:
        client.replicaof("NO", "ONE")
        _until(lambda: service.first.client().info("replication")["connected_slaves"] == 0)
        with pytest.raises(StoreUnfit, match="its primary has no replica"):
            await redis_preflight.require(service.url)


async def test_unreachable_sentinels_raise_store_unavailable_within_the_deadline() -> None:
    client = RedisLeases("redis+sentinel://user:canary@127.0.0.1:1,127.0.0.1:2/cameras")
    began_s = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2/cameras") as raised:
        await client.owner("lobby")
    assert time.monotonic() - began_s < 10.0
    assert "canary" not in str(raised.value)
    await client.close()


async def _retried(work: Callable[[], Awaitable[T]]) -> T:
    """The result of the first try that succeeds: during a failover the store is unavailable."""
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.2)


def _until(is_true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < until_s
        time.sleep(0.1)
