"""Whether a Redis or Valkey can be used as the store: its version, role, settings and permitted commands."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from cache_store import redis_connection
from cache_store.errors import StoreLoading, StoreUnfit
from cache_store.redis_connection import RedisConnection

_TIMEOUT_S = 5.0
_RETRIES = 2
_MIN_VERSION = (6, 2)
_NOT_DURABLE = "no append-only file, so a restart loses what is newer than its last snapshot"

# Runs every command of the store, the leases, the registry and the servers on keys of its own.
# -> {the first command that is refused, the server's error message}, or two empty strings.
_TRY_COMMANDS = """
local text, hash, list, set, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local calls = {
    {'SET', text, '1', 'PX', '1000'}, {'PTTL', text}, {'PERSIST', text}, {'PEXPIRE', text, '1000'}, {'GET', text},
    {'EXISTS', text}, {'SETNX', text, '1'}, {'MGET', text}, {'UNLINK', text},
    {'HSET', hash, 'field', '1'}, {'PEXPIRE', hash, '1000'}, {'EXPIRE', hash, '1'}, {'HSETNX', hash, 'other', '1'},
    {'HINCRBY', hash, 'field', '1'}, {'HEXISTS', hash, 'field'}, {'HGET', hash, 'field'}, {'HMGET', hash, 'field'},
    {'HGETALL', hash}, {'HLEN', hash}, {'HDEL', hash, 'other'}, {'DEL', hash},
    {'LPUSH', list, '1'}, {'PEXPIRE', list, '1000'}, {'LRANGE', list, '0', '-1'}, {'LINDEX', list, '0'},
    {'LTRIM', list, '1', '-1'},
    {'ZADD', set, '1', 'a'}, {'ZSCORE', set, 'a'}, {'ZREMRANGEBYSCORE', set, '0', '1'},
    {'XADD', stream, 'MAXLEN', '~', '9', '*', 'name', 'a'}, {'XLEN', stream}, {'XRANGE', stream, '-', '+'},
    {'XREVRANGE', stream, '+', '-'}, {'UNLINK', stream},
    {'TIME'},
}
for _, call in ipairs(calls) do
    local answer = redis.pcall(unpack(call))
    if type(answer) == 'table' and answer.err then
        redis.pcall('DEL', text, hash, list, set, stream)
        return {call[1], answer.err}
    end
end
return {'', ''}
"""


@dataclass(frozen=True, slots=True)
class StoreServer:
    """A server that can be used. description: what it is, in words. is_durable: it keeps its data over a restart."""

    description: str
    is_durable: bool


async def require(url: str, *, is_durable: bool = False) -> StoreServer:
    """Checks the store at this URL. Raises StoreUnavailable, StoreUnfit.

    is_durable: the server must also keep its data over a restart. Writes, reads and deletes keys of its own.
    """
    connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)
    try:
        async with connection.operation():
            info = await connection.client.info()
        _require_fit(connection, info, is_durable)
        await _require_commands(connection)
    finally:
        await connection.close()
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    version = info.get("valkey_version") or info["redis_version"]
    replicas = f", {count} replica{'s' if count > 1 else ''}" if (count := info["connected_slaves"]) else ""
    description = f"{name} {version}, {info['maxmemory_policy']}, {_durability(info)}{replicas}"
    return StoreServer(description, is_durable=_is_durable(info))


def _require_fit(connection: RedisConnection, info: dict[str, Any], is_durable: bool) -> None:
    address = connection.address
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if info.get("loading"):
        raise StoreLoading(f"store {address}: still reading its own files")
    if version < _MIN_VERSION:
        raise StoreUnfit(f"store {address}: version {info['redis_version']} (at least 6.2)")
    if info.get("cluster_enabled"):
        raise StoreUnfit(f"store {address}: a Redis Cluster (use one primary, with replicas if you like)")
    if info.get("role") != "master":
        raise StoreUnfit(f"store {address}: a replica, which takes no writes (use its primary)")
    if info["maxmemory_policy"] != "noeviction":
        raise StoreUnfit(
            f"store {address}: maxmemory-policy is {info['maxmemory_policy']}, which deletes checkpoints and leases "
            "when memory is short: use noeviction (CONFIG SET maxmemory-policy noeviction, and the same in its file), "
            "or name another server in `store`"
        )
    if is_durable and not _is_durable(info):
        raise StoreUnfit(f"store {address}: {_NOT_DURABLE} (use appendonly yes)")
    if connection.is_sentinel and not info["connected_slaves"]:
        raise StoreUnfit(f"store {address}: its primary has no replica, and without one no camera is granted")


async def _require_commands(connection: RedisConnection) -> None:
    prefix = f"hermes:rights:{uuid.uuid4().hex}"
    keys = [f"{prefix}:{kind}" for kind in ("text", "hash", "list", "set", "stream")]
    async with connection.operation():
        outcome = await connection.client.eval(_TRY_COMMANDS, len(keys), *keys)
        await connection.client.register_script("return 1")()
        await connection.client.wait(0, 1)
    command, message = map(redis_connection.as_text, outcome)
    if command:
        error_type = redis_connection.error_type(message)
        raise error_type(f"store {connection.address}: {command} is refused: {message}")


def _durability(info: dict[str, Any]) -> str:
    return "append-only file" if _is_durable(info) else _NOT_DURABLE


def _is_durable(info: dict[str, Any]) -> bool:
    return bool(info.get("aof_enabled"))
