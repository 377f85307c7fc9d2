"""The store and the leases behind a faulty way and on servers that refuse: typed errors in time, nothing is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cache_store.errors import StoreForbidden, StoreFull, StoreLoading, StoreReadOnly, StoreUnavailable
from cache_store.leases import UNOWNED_EXPIRY, Owner, ShardIncarnation
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from tests import servers
from tests.cache_store.test_checkpoint import FACTS, assert_equal, saved_at
from tests.faulty_proxy import Fault, FaultyProxy
from tests.servers import KINDS, VALKEY, Server

pytestmark = pytest.mark.redis

ME = ShardIncarnation("me")
TRY_S = 0.2
# Three tries of a store, what it waits between them, and what a busy machine may take.
DEADLINE_S = 3 * TRY_S + 2 * 0.5 + 1.0


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with servers.running(request.param, tmp_path) as started:
        yield started


@dataclasses.dataclass(slots=True)
class Reached:
    """A store and its leases at the end of a faulty way. The camera `lobby` is ours, with a checkpoint of second 1."""

    way: FaultyProxy
    store: RedisCheckpointStore
    leases: RedisLeases
    owner: Owner


@pytest.fixture
def any_server(tmp_path: Path) -> Iterator[Server]:
    """What the way does, it does to every server alike."""
    with servers.running(VALKEY, tmp_path) as started:
        yield started


@pytest_asyncio.fixture
async def reached(any_server: Server) -> AsyncIterator[Reached]:
    async with FaultyProxy(any_server.port).open() as way:
        kept = RedisCheckpointStore(way.url, timeout_s=TRY_S)
        leases = RedisLeases(way.url, timeout_s=TRY_S)
        owner = await leases.acquire("lobby", ME.id, expiry=UNOWNED_EXPIRY)
        await kept.save("lobby", saved_at(1.0), owner)
        yield Reached(way, kept, leases, owner)
        await kept.close()
        await leases.close()


FAULTS = {
    "half open": Fault(is_half_open=True),
    "slower than the deadline": Fault(delay_s=30.0),
    "cut in the middle of an answer": Fault(cut_after=3),
    "a trickle": Fault(bytes_per_s=1.0),
    "refused": Fault(is_refused=True, cut_after=0),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", ["save", "load", "ping", "delete", "renew", "acquire", "owner", "lease"])
async def test_what_the_way_does_is_said_to_be_that_the_store_is_away_in_time(
    reached: Reached, fault: str, operation: str
) -> None:
    work: dict[str, Callable[[], object]] = {
        "save": lambda: reached.store.save("lobby", saved_at(2.0), reached.owner),
        "load": lambda: reached.store.load("lobby", FACTS.fingerprint),
        "ping": reached.store.ping,
        "delete": lambda: reached.store.delete("lobby"),
        "renew": lambda: reached.leases.renew(ME),
        "acquire": lambda: reached.leases.acquire("yard", ME.id, expiry=UNOWNED_EXPIRY),
        "owner": lambda: reached.leases.owner("lobby"),
        "lease": lambda: reached.leases.lease(ME.id),
    }
    reached.way.fault = dataclasses.replace(FAULTS[fault])
    began_s = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1"):
        async with asyncio.timeout(20):
            await work[operation]()  # type: ignore[misc]

    assert time.monotonic() - began_s < DEADLINE_S


@pytest.mark.parametrize("fault", FAULTS)
async def test_when_the_fault_is_over_everything_goes_on_and_nothing_was_lost(reached: Reached, fault: str) -> None:
    reached.way.fault = dataclasses.replace(FAULTS[fault])
    with pytest.raises(StoreUnavailable):
        await reached.store.save("lobby", saved_at(2.0), reached.owner)
    with pytest.raises(StoreUnavailable):
        await reached.leases.renew(ME)

    reached.way.fault = Fault()

    loaded = await reached.store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s in (1.0, 2.0)
    assert await reached.leases.owner("lobby") == reached.owner
    await reached.store.save("lobby", saved_at(3.0), reached.owner)
    again = await reached.store.load("lobby", FACTS.fingerprint)
    assert again is not None
    assert_equal(again, saved_at(3.0))


async def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(reached: Reached) -> None:
    reached.way.fault = Fault(delay_s=2 * TRY_S)
    with pytest.raises(StoreUnavailable):
        await reached.leases.owner("lobby")
    reached.way.fault = Fault()
    await asyncio.sleep(2 * TRY_S)
    for _ in range(5):
        assert await reached.leases.lease("nobody at all") is None
        assert await reached.leases.owner("lobby") == reached.owner


async def test_a_slow_way_is_no_fault(reached: Reached) -> None:
    reached.way.fault = Fault(delay_s=TRY_S / 6)
    await reached.store.save("lobby", saved_at(2.0), reached.owner)
    loaded = await reached.store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 2.0


async def test_a_commit_whose_answer_was_lost_counts_once_and_leaves_nothing_behind(
    reached: Reached, any_server: Server
) -> None:
    await reached.store.save("lobby", saved_at(2.0), reached.owner)
    reached.way.fault = Fault(loses_answer_to=b"EVAL")

    await reached.store.save("lobby", saved_at(3.0), reached.owner)

    assert reached.way.fault.loses_answer_to is None
    with any_server.client() as client:
        assert client.llen("hermes:{lobby}:manifests") == 2
        assert len(client.keys("hermes:{lobby}:*:0")) == 2
        assert {client.pttl(key) for key in client.keys("hermes:{lobby}:*")} == {-1}


async def test_an_acquire_whose_answer_was_lost_is_ours_when_asked_again(reached: Reached) -> None:
    reached.way.fault = Fault(loses_answer_to=b"hermes:{yard}:owner")
    with pytest.raises(StoreUnavailable):
        await reached.leases.acquire("yard", ME.id, expiry=UNOWNED_EXPIRY)
    owner = await reached.leases.acquire("yard", ME.id)
    assert await reached.leases.owner("yard") == owner


@dataclasses.dataclass(slots=True)
class Held:
    """The same on a server without a proxy."""

    store: RedisCheckpointStore
    leases: RedisLeases
    owner: Owner


@pytest_asyncio.fixture
async def held(server: Server) -> AsyncIterator[Held]:
    kept, leases = RedisCheckpointStore(server.url), RedisLeases(server.url)
    await leases.renew(ME)
    owner = await leases.acquire("lobby", ME.id, expiry=UNOWNED_EXPIRY)
    await kept.save("lobby", saved_at(1.0), owner)
    yield Held(kept, leases, owner)
    await kept.close()
    await leases.close()


async def test_a_full_store_says_so_keeps_what_it_has_and_goes_on_renewing_leases(held: Held, server: Server) -> None:
    with server.client() as client:
        keys = sorted(client.keys("*"))
        client.config_set("maxmemory", "1")

        for _ in range(3):
            with pytest.raises(StoreFull, match=r"redis://127\.0\.0\.1"):
                await held.store.save("lobby", saved_at(2.0), held.owner)

        assert sorted(client.keys("*")) == keys
        assert await held.leases.renew(ME) == 2
        assert (await held.leases.acquire("lobby", ME.id, min_epoch=held.owner.epoch)).epoch > held.owner.epoch
        loaded = await held.store.load("lobby", FACTS.fingerprint)
        assert loaded is not None
        assert loaded.facts.saved_s == 1.0

        client.config_set("maxmemory", "0")
        owner = await held.leases.owner("lobby")
        assert owner is not None
        await held.store.save("lobby", saved_at(3.0), owner)


async def test_a_store_that_fills_up_in_the_middle_of_a_save_is_rid_of_its_beginning(
    held: Held, server: Server
) -> None:
    big = dataclasses.replace(saved_at(2.0), thumbnails={frame: os.urandom(1 << 18) for frame in range(128)})
    with server.client() as client:
        keys = sorted(client.keys("*"))
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (12 << 20))
        with pytest.raises(StoreFull):
            await held.store.save("lobby", big, held.owner)
        assert sorted(client.keys("*")) == keys


async def test_a_primary_that_became_a_replica_is_read_only(held: Held, server: Server) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        for work in (
            held.store.save("lobby", saved_at(2.0), held.owner),
            held.leases.renew(ME),
            held.leases.acquire("yard", ME.id, expiry=UNOWNED_EXPIRY),
        ):
            with pytest.raises(StoreReadOnly):
                await work
        client.replicaof("NO", "ONE")
        loaded = await held.store.load("lobby", FACTS.fingerprint)
        assert loaded is not None
        assert loaded.facts.saved_s == 1.0
        assert await held.leases.renew(ME) == 2


async def test_rights_that_are_taken_away_are_named(held: Held, server: Server) -> None:
    with server.client() as client:
        client.acl_setuser("keeper", enabled=True, passwords=["+canary"], commands=["+@read"], keys=["hermes:*"])
        door = server.url.replace("redis://", "redis://keeper:canary@")
        kept, leases = RedisCheckpointStore(door), RedisLeases(door)
        for work in (kept.save("lobby", saved_at(2.0), held.owner), leases.renew(ME)):
            with pytest.raises(StoreForbidden) as raised:
                await work
            assert "canary" not in str(raised.value)
        await kept.close()
        await leases.close()


async def test_a_store_that_still_reads_what_it_kept_says_so(tmp_path: Path) -> None:
    with servers.running(VALKEY, tmp_path) as server, server.client() as client:
        for number in range(40):
            client.set(f"key {number}", os.urandom(4096))
        client.save()
    slowly = {"key_load_delay": "100000", "loading_process_events_interval_bytes": "1024"}
    with servers.running(VALKEY, tmp_path, **slowly) as server:
        leases = RedisLeases(server.url)
        with pytest.raises(StoreLoading):
            await leases.renew(ME)
        await leases.close()
