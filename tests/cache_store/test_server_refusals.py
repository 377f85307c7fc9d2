"""The store and the leases on servers that refuse: full, read-only, forbidden or still loading."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cache_store.errors import StoreForbidden, StoreFull, StoreLoading, StoreReadOnly
from cache_store.leases import UNOWNED_EXPIRY, Owner, ShardIncarnation
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from tests import servers
from tests.cache_store.test_checkpoint import FACTS, saved_at
from tests.servers import KINDS, VALKEY, Server

pytestmark = pytest.mark.redis

ME = ShardIncarnation("me")


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with servers.running(request.param, tmp_path) as started:
        yield started


@dataclasses.dataclass(slots=True)
class DirectStore:
    """The same without a proxy."""

    store: RedisCheckpointStore
    leases: RedisLeases
    owner: Owner


@pytest_asyncio.fixture
async def direct(server: Server) -> AsyncIterator[DirectStore]:
    store, leases = RedisCheckpointStore(server.url), RedisLeases(server.url)
    await leases.renew(ME)
    owner = await leases.acquire("lobby", ME.id, expiry=UNOWNED_EXPIRY)
    await store.save("lobby", saved_at(1.0), owner)
    yield DirectStore(store, leases, owner)
    await store.close()
    await leases.close()


async def test_a_full_store_raises_store_full_keeps_its_data_and_still_renews_leases(
    direct: DirectStore, server: Server
) -> None:
    with server.client() as client:
        keys = sorted(client.keys("*"))
        client.config_set("maxmemory", "1")

        for _ in range(3):
            with pytest.raises(StoreFull, match=r"redis://127\.0\.0\.1"):
                await direct.store.save("lobby", saved_at(2.0), direct.owner)

        assert sorted(client.keys("*")) == keys
        assert (await direct.leases.renew(ME)).count == 2
        assert (await direct.leases.acquire("lobby", ME.id, min_epoch=direct.owner.epoch)).epoch > direct.owner.epoch
        loaded = await direct.store.load("lobby", FACTS.fingerprint)
        assert loaded is not None
        assert loaded.facts.saved_s == 1.0

        client.config_set("maxmemory", "0")
        owner = await direct.leases.owner("lobby")
        assert owner is not None
        await direct.store.save("lobby", saved_at(3.0), owner)


async def test_a_save_that_fills_the_store_deletes_what_it_wrote(direct: DirectStore, server: Server) -> None:
    big = dataclasses.replace(saved_at(2.0), thumbnails={frame: os.urandom(1 << 18) for frame in range(128)})
    with server.client() as client:
        keys = sorted(client.keys("*"))
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (12 << 20))
        with pytest.raises(StoreFull):
            await direct.store.save("lobby", big, direct.owner)
        assert sorted(client.keys("*")) == keys


async def test_a_primary_that_became_a_replica_is_read_only(direct: DirectStore, server: Server) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        for work in (
            direct.store.save("lobby", saved_at(2.0), direct.owner),
            direct.leases.renew(ME),
            direct.leases.acquire("yard", ME.id, expiry=UNOWNED_EXPIRY),
        ):
            with pytest.raises(StoreReadOnly):
                await work
        client.replicaof("NO", "ONE")
        loaded = await direct.store.load("lobby", FACTS.fingerprint)
        assert loaded is not None
        assert loaded.facts.saved_s == 1.0
        assert (await direct.leases.renew(ME)).count == 2


async def test_a_command_without_permission_raises_store_forbidden(direct: DirectStore, server: Server) -> None:
    with server.client() as client:
        client.acl_setuser("reader", enabled=True, passwords=["+canary"], commands=["+@read"], keys=["hermes:*"])
        url = server.url.replace("redis://", "redis://reader:canary@")
        store, leases = RedisCheckpointStore(url), RedisLeases(url)
        for work in (store.save("lobby", saved_at(2.0), direct.owner), leases.renew(ME)):
            with pytest.raises(StoreForbidden) as raised:
                await work
            assert "canary" not in str(raised.value)
        await store.close()
        await leases.close()


async def test_a_store_that_still_reads_its_files_raises_store_loading(tmp_path: Path) -> None:
    with servers.running(VALKEY, tmp_path) as server, server.client() as client:
        for number in range(40):
            client.set(f"key {number}", os.urandom(4096))
        client.save()
    slow_loading = {"key_load_delay": "100000", "loading_process_events_interval_bytes": "1024"}
    with servers.running(VALKEY, tmp_path, **slow_loading) as server:
        leases = RedisLeases(server.url)
        with pytest.raises(StoreLoading):
            await leases.renew(ME)
        await leases.close()
