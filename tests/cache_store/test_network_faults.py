"""The store and the leases behind a faulty network: typed errors within the deadline, no data lost."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from cache_store.errors import StoreUnavailable
from cache_store.leases import UNOWNED_EXPIRY, Owner, ShardIncarnation
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from tests import servers
from tests.cache_store.test_checkpoint import FACTS, assert_equal, saved_at
from tests.faulty_proxy import Fault, FaultyProxy
from tests.servers import VALKEY, Server

pytestmark = pytest.mark.redis

ME = ShardIncarnation("me")
TRY_S = 0.2
# Three tries of a store, the pauses between them, and time for a busy machine.
DEADLINE_S = 3 * TRY_S + 2 * 0.5 + 5.0
AVAILABLE_S = 20.0

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class ProxiedStore:
    """A store and leases behind a faulty proxy. The camera `lobby` has this owner and a checkpoint of second 1."""

    proxy: FaultyProxy
    store: RedisCheckpointStore
    leases: RedisLeases
    owner: Owner


@pytest.fixture
def any_server(tmp_path: Path) -> Iterator[Server]:
    """Faults of the network are the same for every kind of server."""
    with servers.running(VALKEY, tmp_path) as started:
        yield started


@pytest_asyncio.fixture
async def proxied(any_server: Server) -> AsyncIterator[ProxiedStore]:
    async with FaultyProxy(any_server.port).open() as proxy:
        store = RedisCheckpointStore(proxy.url, timeout_s=TRY_S)
        leases = RedisLeases(proxy.url, timeout_s=TRY_S)
        owner = await available(lambda: leases.acquire("lobby", ME.id, expiry=UNOWNED_EXPIRY))
        await available(lambda: store.save("lobby", saved_at(1.0), owner))
        yield ProxiedStore(proxy, store, leases, owner)
        await store.close()
        await leases.close()


async def available(work: Callable[[], Awaitable[T]]) -> T:
    """The result of the first try in time: where no fault is, only a busy machine takes longer than TRY_S."""
    until_s = time.monotonic() + AVAILABLE_S
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if time.monotonic() > until_s:
                raise


FAULTS = {
    "half open": Fault(is_half_open=True),
    "slower than the deadline": Fault(delay_s=30.0),
    "cut in the middle of an answer": Fault(cut_after=3),
    "byte by byte": Fault(bytes_per_s=1.0),
    "refused": Fault(is_refused=True, cut_after=0),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", ["save", "load", "delete", "renew", "acquire", "owner", "lease", "fence"])
async def test_every_operation_behind_a_fault_raises_store_unavailable_within_its_deadline(
    proxied: ProxiedStore, fault: str, operation: str
) -> None:
    work: dict[str, Callable[[], object]] = {
        "save": lambda: proxied.store.save("lobby", saved_at(2.0), proxied.owner),
        "load": lambda: proxied.store.load("lobby", FACTS.fingerprint),
        "delete": lambda: proxied.store.delete("lobby", proxied.owner),
        "renew": lambda: proxied.leases.renew(ME),
        "acquire": lambda: proxied.leases.acquire("yard", ME.id, expiry=UNOWNED_EXPIRY),
        "owner": lambda: proxied.leases.owner("lobby"),
        "lease": lambda: proxied.leases.lease(ME.id),
        "fence": lambda: proxied.leases.fence("lobby"),
    }
    proxied.proxy.fault = dataclasses.replace(FAULTS[fault])
    began_s = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1"):
        async with asyncio.timeout(20):
            await work[operation]()  # type: ignore[misc]

    assert time.monotonic() - began_s < DEADLINE_S


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_the_fault_every_operation_works_and_no_data_is_lost(proxied: ProxiedStore, fault: str) -> None:
    proxied.proxy.fault = dataclasses.replace(FAULTS[fault])
    with pytest.raises(StoreUnavailable):
        await proxied.store.save("lobby", saved_at(2.0), proxied.owner)
    with pytest.raises(StoreUnavailable):
        await proxied.leases.renew(ME)

    proxied.proxy.fault = Fault()

    loaded = await available(lambda: proxied.store.load("lobby", FACTS.fingerprint))
    assert loaded is not None
    assert loaded.facts.saved_s in (1.0, 2.0)
    assert await available(lambda: proxied.leases.owner("lobby")) == proxied.owner
    await available(lambda: proxied.store.save("lobby", saved_at(3.0), proxied.owner))
    again = await available(lambda: proxied.store.load("lobby", FACTS.fingerprint))
    assert again is not None
    assert_equal(again, saved_at(3.0))


async def test_a_late_answer_is_not_taken_for_the_answer_of_the_next_operation(proxied: ProxiedStore) -> None:
    proxied.proxy.fault = Fault(delay_s=2 * TRY_S)
    with pytest.raises(StoreUnavailable):
        await proxied.leases.owner("lobby")
    proxied.proxy.fault = Fault()
    await asyncio.sleep(2 * TRY_S)
    for _ in range(5):
        assert await available(lambda: proxied.leases.lease("unknown")) is None
        assert await available(lambda: proxied.leases.owner("lobby")) == proxied.owner


async def test_a_slow_network_is_no_fault(proxied: ProxiedStore) -> None:
    store = RedisCheckpointStore(proxied.proxy.url, timeout_s=6 * TRY_S)
    proxied.proxy.fault = Fault(delay_s=TRY_S)
    await store.save("lobby", saved_at(2.0), proxied.owner)
    loaded = await store.load("lobby", FACTS.fingerprint)
    await store.close()
    assert loaded is not None
    assert loaded.facts.saved_s == 2.0


async def test_a_commit_whose_answer_is_lost_counts_once_and_leaves_no_uncommitted_key(
    proxied: ProxiedStore, any_server: Server
) -> None:
    await proxied.store.save("lobby", saved_at(2.0), proxied.owner)
    proxied.proxy.fault = Fault(loses_answer_to=b"EVAL")

    await proxied.store.save("lobby", saved_at(3.0), proxied.owner)

    assert proxied.proxy.fault.loses_answer_to is None
    with any_server.client() as client:
        assert client.llen("hermes:{lobby}:manifests") == 2
        assert len(client.keys("hermes:{lobby}:*:0")) == 2
        assert {client.pttl(key) for key in client.keys("hermes:{lobby}:*")} == {-1}


async def test_an_acquire_whose_answer_is_lost_succeeds_when_repeated(proxied: ProxiedStore) -> None:
    proxied.proxy.fault = Fault(loses_answer_to=b"hermes:{yard}:owner")
    with pytest.raises(StoreUnavailable):
        await proxied.leases.acquire("yard", ME.id, expiry=UNOWNED_EXPIRY)
    owner = await available(lambda: proxied.leases.acquire("yard", ME.id))
    assert await available(lambda: proxied.leases.owner("yard")) == owner
