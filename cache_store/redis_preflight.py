"""Whether a Redis or Valkey can be used as the store: its version, its role, its settings and what it lets us do."""

from __future__ import annotations

import uuid
from typing import Any

from cache_store import redis_connection
from cache_store.checkpoint import StoreLoading, StoreUnfit
from cache_store.redis_connection import RedisConnection

_TIMEOUT_S = 5.0
_RETRIES = 2
_LEAST_VERSION = (6, 2)
_NOT_KEPT = "no append-only file, so a restart loses what is newer than its last snapshot"

# All that the store, the leases and the registry do, on keys of its own. The first that is refused, and what was said.
_TRY_RIGHTS = """
local text, hash, list = KEYS[1], KEYS[2], KEYS[3]
local calls = {
    {'SET', text, '1', 'PX', '1000'}, {'PTTL', text}, {'PERSIST', text}, {'PEXPIRE', text, '1000'}, {'GET', text},
    {'MGET', text}, {'UNLINK', text},
    {'HSET', hash, 'field', '1'}, {'PEXPIRE', hash, '1000'}, {'HSETNX', hash, 'other', '1'},
    {'HINCRBY', hash, 'field', '1'}, {'HEXISTS', hash, 'field'}, {'HGET', hash, 'field'}, {'HMGET', hash, 'field'},
    {'HGETALL', hash}, {'HDEL', hash, 'other'}, {'DEL', hash},
    {'LPUSH', list, '1'}, {'PEXPIRE', list, '1000'}, {'LRANGE', list, '0', '-1'}, {'LINDEX', list, '0'},
    {'LTRIM', list, '1', '-1'},
    {'TIME'},
}
for _, call in ipairs(calls) do
    local answer = redis.pcall(unpack(call))
    if type(answer) == 'table' and answer.err then
        redis.pcall('DEL', text, hash, list)
        return {call[1], answer.err}
    end
end
return {'', ''}
"""


async def require(url: str, *, is_durable: bool = False) -> str:
    """What server it is, if the store at this URL can be used. Raises StoreUnavailable, StoreUnfit.

    is_durable: it must also keep what it has when it restarts. Writes, reads and deletes keys of its own.
    """
    connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)
    try:
        async with connection.translated():
            facts = await connection.client.info()
        _require_fit(connection, facts, is_durable)
        await _require_rights(connection)
    finally:
        await connection.close()
    name = "Valkey" if facts.get("server_name") == "valkey" else "Redis"
    version = facts.get("valkey_version") or facts["redis_version"]
    replicas = f", {count} replica{'s' if count > 1 else ''}" if (count := facts["connected_slaves"]) else ""
    return f"{name} {version}, {facts['maxmemory_policy']}, {_durability(facts)}{replicas}"


def _require_fit(connection: RedisConnection, facts: dict[str, Any], is_durable: bool) -> None:
    where = connection.where
    version = tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2])
    if facts.get("loading"):
        raise StoreLoading(f"store {where}: still reading what it kept")
    if version < _LEAST_VERSION:
        raise StoreUnfit(f"store {where}: version {facts['redis_version']} (at least 6.2)")
    if facts.get("cluster_enabled"):
        raise StoreUnfit(f"store {where}: a Redis Cluster (use one primary, with replicas if you like)")
    if facts.get("role") != "master":
        raise StoreUnfit(f"store {where}: a replica, which takes no writes (use its primary)")
    if facts["maxmemory_policy"] != "noeviction":
        raise StoreUnfit(
            f"store {where}: maxmemory-policy is {facts['maxmemory_policy']}, which deletes checkpoints when memory is "
            "short (use noeviction)"
        )
    if is_durable and _durability(facts) == _NOT_KEPT:
        raise StoreUnfit(f"store {where}: {_NOT_KEPT} (use appendonly yes)")
    if connection.is_sentinel and not facts["connected_slaves"]:
        raise StoreUnfit(f"store {where}: its primary has no replica, and without one no camera is granted")


async def _require_rights(connection: RedisConnection) -> None:
    prefix = f"hermes:rights:{uuid.uuid4().hex}"
    keys = [f"{prefix}:{kind}" for kind in ("text", "hash", "list")]
    async with connection.translated():
        found = await connection.client.register_script(_TRY_RIGHTS)(keys=keys)
        await connection.client.wait(0, 1)
    command, told = map(redis_connection.as_text, found)
    if command:
        kind = redis_connection.kind_of(told)
        raise kind(f"store {connection.where}: {command} is refused: {told}")


def _durability(facts: dict[str, Any]) -> str:
    if facts.get("aof_enabled"):
        return "append-only file"
    return _NOT_KEPT
