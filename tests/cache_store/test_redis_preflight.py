"""Which servers are refused as the store, and what is said of them; against real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cache_store import redis_preflight
from cache_store.errors import StoreForbidden, StoreUnfit
from tests import servers
from tests.servers import OLDEST_REDIS, VALKEY

pytestmark = pytest.mark.redis


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as plain:
        yield plain
        assert plain.keys("*") == [], "an examination left something behind"


@pytest.mark.parametrize(
    ("setting", "value", "usual", "told"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "maxmemory-policy is allkeys-lru.*use noeviction"),
        ("appendonly", "no", "yes", "no append-only file.*use appendonly yes"),
    ],
)
async def test_a_store_that_would_lose_data_is_refused_with_the_setting_named(
    server_url: str, client: redis.Redis, setting: str, value: str, usual: str, told: str
) -> None:
    client.config_set("appendonly", "yes")
    client.config_set(setting, value)
    try:
        with pytest.raises(StoreUnfit, match=told):
            await redis_preflight.require(server_url, is_durable=True)
    finally:
        client.config_set(setting, usual)
    assert "noeviction, append-only file" in await redis_preflight.require(server_url, is_durable=True)


@pytest.mark.parametrize(
    "command", ["set", "get", "unlink", "hset", "hincrby", "lpush", "ltrim", "persist", "time", "eval", "info"]
)
async def test_a_right_that_is_missing_is_named(server_url: str, client: redis.Redis, command: str) -> None:
    door = server_url.replace("redis://", "redis://keeper:canary@")
    client.acl_setuser("keeper", enabled=True, passwords=["+canary"], categories=["+@all"], keys=["hermes:*"])
    try:
        assert "noeviction" in await redis_preflight.require(door)
        client.execute_command("ACL", "SETUSER", "keeper", f"-{command}", *(["-evalsha"] if command == "eval" else []))
        with pytest.raises(StoreForbidden, match=f"(?i){command}|no permissions") as raised:
            await redis_preflight.require(door)
    finally:
        client.acl_deluser("keeper")
    assert "canary" not in str(raised.value)


async def test_keys_that_may_not_be_touched_are_a_missing_right(server_url: str, client: redis.Redis) -> None:
    client.acl_setuser("keeper", enabled=True, passwords=["+canary"], categories=["+@all"], keys=["other:*"])
    try:
        with pytest.raises(StoreForbidden):
            await redis_preflight.require(server_url.replace("redis://", "redis://keeper:canary@"))
    finally:
        client.acl_deluser("keeper")


async def test_a_wrong_password_is_no_way_in(server_url: str, client: redis.Redis) -> None:
    client.acl_setuser("keeper", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"])
    try:
        with pytest.raises(StoreForbidden) as raised:
            await redis_preflight.require(server_url.replace("redis://", "redis://keeper:canary@"))
    finally:
        client.acl_deluser("keeper")
    assert "canary" not in str(raised.value)


async def test_a_replica_is_refused(server_url: str, client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnfit, match=r"a replica, which takes no writes"):
            await redis_preflight.require(server_url)
    finally:
        client.replicaof("NO", "ONE")


async def test_a_cluster_is_refused(tmp_path: Path) -> None:
    with (
        servers.running(VALKEY, tmp_path, cluster_enabled="yes") as server,
        pytest.raises(StoreUnfit, match="a Redis Cluster"),
    ):
        await redis_preflight.require(server.url)


async def test_what_it_is_is_told(url_of: Callable[[str], str]) -> None:
    assert (await redis_preflight.require(url_of(OLDEST_REDIS))).startswith("Redis 6.2.14, noeviction")
    assert (await redis_preflight.require(url_of(VALKEY))).startswith("Valkey 9")
