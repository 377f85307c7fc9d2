"""Which real servers are refused as the store, and with which message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cache_store import redis_preflight
from cache_store.errors import StoreForbidden, StoreUnfit
from tests import servers
from tests.servers import OLDEST_REDIS, VALKEY

pytestmark = pytest.mark.redis

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client
        assert client.keys("*") == [], "the preflight left keys"


@pytest.mark.parametrize(
    ("setting", "value", "usual", "message"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "maxmemory-policy is allkeys-lru.*use noeviction"),
        ("appendonly", "no", "yes", "no append-only file.*use appendonly yes"),
    ],
)
async def test_a_store_that_would_lose_data_is_refused_and_the_message_names_the_setting(
    server_url: str, client: redis.Redis, setting: str, value: str, usual: str, message: str
) -> None:
    client.config_set("appendonly", "yes")
    client.config_set(setting, value)
    try:
        with pytest.raises(StoreUnfit, match=message):
            await redis_preflight.require(server_url, is_durable=True)
    finally:
        client.config_set(setting, usual)
    assert "noeviction, append-only file" in (await redis_preflight.require(server_url, is_durable=True)).description


@pytest.mark.parametrize(
    "command",
    ["set", "get", "exists", "unlink", "hset", "hincrby", "lpush", "ltrim", "time", "eval", "evalsha", "info"],
)
async def test_a_command_without_permission_is_named(server_url: str, client: redis.Redis, command: str) -> None:
    url = server_url.replace("redis://", "redis://limited:canary@")
    client.acl_setuser("limited", enabled=True, passwords=["+canary"], categories=["+@all"], keys=["hermes:*"])
    try:
        assert "noeviction" in (await redis_preflight.require(url)).description
        client.execute_command("ACL", "SETUSER", "limited", f"-{command}")
        with pytest.raises(StoreForbidden, match=f"(?i){command}") as raised:
            await redis_preflight.require(url)
    finally:
        client.acl_deluser("limited")
    assert "canary" not in str(raised.value)


def test_every_command_of_a_script_is_tried() -> None:
    """A store that forbade EXISTS passed, and no checkpoint could be committed to it."""
    sources = [path.read_text() for room in ("cache_store", "actors") for path in (ROOT / room).rglob("*.py")]
    called = {command for source in sources for command in re.findall(r"redis\.call\('([A-Z]+)'", source)}

    assert len(called) > 20
    assert {command for command in called if f"{{'{command}'" not in redis_preflight._TRY_COMMANDS} == set()


async def test_keys_without_permission_are_store_forbidden(server_url: str, client: redis.Redis) -> None:
    client.acl_setuser("limited", enabled=True, passwords=["+canary"], categories=["+@all"], keys=["other:*"])
    try:
        with pytest.raises(StoreForbidden):
            await redis_preflight.require(server_url.replace("redis://", "redis://limited:canary@"))
    finally:
        client.acl_deluser("limited")


async def test_a_wrong_password_is_store_forbidden_and_not_shown(server_url: str, client: redis.Redis) -> None:
    client.acl_setuser("limited", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"])
    try:
        with pytest.raises(StoreForbidden) as raised:
            await redis_preflight.require(server_url.replace("redis://", "redis://limited:canary@"))
    finally:
        client.acl_deluser("limited")
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


async def test_the_result_names_the_server_and_its_version(url_of: Callable[[str], str]) -> None:
    assert (await redis_preflight.require(url_of(OLDEST_REDIS))).description.startswith("Redis 6.2.14, noeviction")
    assert (await redis_preflight.require(url_of(VALKEY))).description.startswith("Valkey 9")
