"""The registry of cameras in Redis or Valkey, by Lua. A change costs what changed, not the size of the fleet."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from actors.fleet import registry_codec
from actors.fleet.registry import RegistryChanges, RegistryEntry
from cache_store.redis_connection import RedisConnection, as_text

# A hash of entries by name; a stream of the names that changed; the id of this registry's data; a hash of the cameras
# whose removal is not finished, id to name; a sorted set of the ids that were removed, by time.
_KEYS = (
    "hermes:cameras",
    "hermes:cameras:log",
    "hermes:cameras:lineage",
    "hermes:cameras:removals",
    "hermes:cameras:removed",
)
_TIMEOUT_S = 2.0
_RETRIES = 1
_LOG_LENGTH = 10_000
_MAX_CHANGES = 1_000  # in one reply; a fleet that missed more reads everything
_REMOVED_KEPT_MS = 30 * 86_400_000

# An entry of the version before has no id: its name stands for it.
_COMMON = f"""
local function now_ms()
    local now = redis.call('TIME')
    return now[1] * 1000 + math.floor(now[2] / 1000)
end
local function changed(name)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', '{_LOG_LENGTH}', '*', 'name', name)
end
local function facts(name)
    local text = redis.call('HGET', KEYS[1], name)
    if not text then return nil end
    local is_read, entry = pcall(cjson.decode, text)
    if not is_read or type(entry) ~= 'table' then return {{id = name, revision = 0}} end
    return {{id = entry.id or name, revision = tonumber(entry.revision) or 0}}
end
"""

# ARGV: a lineage for a new registry, then name, id and entry of each camera. -> the entries of all these names.
_ADD = (
    _COMMON
    + """
redis.call('SETNX', KEYS[3], ARGV[1])
local found = {}
for index = 2, #ARGV, 3 do
    local name, id = ARGV[index], ARGV[index + 1]
    if not redis.call('ZSCORE', KEYS[5], id) and redis.call('HSETNX', KEYS[1], name, ARGV[index + 2]) == 1 then
        changed(name)
    end
    found[#found + 1] = redis.call('HGET', KEYS[1], name)
end
return found
"""
)

# ARGV: name, id, revision and entry of a camera.
_UPDATE = (
    _COMMON
    + """
local present = facts(ARGV[1])
if not present or present.id ~= ARGV[2] or present.revision >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
changed(ARGV[1])
return 1
"""
)

# ARGV: name, id, and the entry that takes the name or ''. Without one the first write needs no memory, so that a full
# server accepts the script.
_REMOVE = (
    _COMMON
    + f"""
local present = facts(ARGV[1])
if not present or present.id ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now_ms() - {_REMOVED_KEPT_MS})
redis.call('ZADD', KEYS[5], now_ms(), ARGV[2])
changed(ARGV[1])
return 1
"""
)

_FINISH = (
    _COMMON
    + """
if redis.call('HDEL', KEYS[4], ARGV[1]) == 1 then changed('') end
return 1
"""
)

# ARGV: the version that the reader has, or ''. A version is an id of the stream.
# -> {'same'}, or {'changes', lineage, version, removals, names, entries}, or {'all' or 'lost', lineage, version,
# removals, names and entries in turn}. 'lost': the stream does not have the reader's version although it is not so old
# that it was trimmed.
_READ = (
    _COMMON
    + f"""
local function parts(id)
    local ms, number = id:match('(%d+)-(%d+)')
    return tonumber(ms), tonumber(number)
end
local function is_before(one, other)
    local ms, number = parts(one)
    local other_ms, other_number = parts(other)
    return ms < other_ms or (ms == other_ms and number < other_number)
end
if redis.call('XLEN', KEYS[2]) == 0 and redis.call('HLEN', KEYS[1]) > 0 then
    changed('') -- of the version before, which kept no log
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
local version = last[1] and last[1][1] or ''
local lineage = redis.call('GET', KEYS[3]) or ''
if ARGV[1] ~= '' and ARGV[1] == version then return {{'same'}} end
local kind = 'all'
if ARGV[1] ~= '' then
    local log = redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', {_MAX_CHANGES + 2})
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
    if log[1] and log[1][1] == ARGV[1] then
        if #log <= {_MAX_CHANGES + 1} then
            local names, seen = {{}}, {{}}
            for index = 2, #log do
                local name = log[index][2][2]
                if name ~= '' and not seen[name] then
                    seen[name] = true
                    names[#names + 1] = name
                end
            end
            local entries = #names > 0 and redis.call('HMGET', KEYS[1], unpack(names)) or {{}}
            return {{'changes', lineage, version, redis.call('HGETALL', KEYS[4]), names, entries}}
        end
    elseif not (oldest[1] and is_before(ARGV[1], oldest[1][1])) then
        kind = 'lost'
    end
end
return {{kind, lineage, version, redis.call('HGETALL', KEYS[4]), redis.call('HGETALL', KEYS[1])}}
"""
)


class RedisRegistry:
    """A CameraRegistry in Redis. timeout_s: for one try to read or write all cameras; there are two tries."""

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, retries=_RETRIES)

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        values = [value for entry in entries for value in (entry.name, entry.id, registry_codec.encode(entry))]
        texts = await self._connection.run_replicated(_ADD, _KEYS, [uuid.uuid4().hex, *values])
        return registry_codec.decode_all(zip((entry.name for entry in entries), texts, strict=True))

    async def update(self, entry: RegistryEntry) -> bool:
        values: list[str | int] = [entry.name, entry.id, entry.assignment.revision, registry_codec.encode(entry)]
        return bool(await self._connection.run_replicated(_UPDATE, _KEYS, values))

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        text = "" if successor is None else registry_codec.encode(successor)
        return bool(await self._connection.run_replicated(_REMOVE, _KEYS, [name, camera_id, text]))

    async def finish_removal(self, camera_id: str) -> None:
        await self._connection.run_replicated(_FINISH, _KEYS, [camera_id])

    async def changes_since(self, version: str | None) -> RegistryChanges | None:
        async with self._connection.operation():
            reply = await self._connection.client.eval(_READ, len(_KEYS), *_KEYS, version or "")
        kind = as_text(reply[0])
        if kind == "same":
            return None
        lineage, present, removals = as_text(reply[1]), as_text(reply[2]), _pairs(reply[3])
        is_complete = kind != "changes"
        texts = _pairs(reply[4]) if is_complete else dict(zip(map(as_text, reply[4]), reply[5], strict=True))
        return RegistryChanges(
            lineage=lineage or None,
            version=present or None,
            # In a thread: ten thousand entries would block the event loop of the leader for half a second.
            entries=await asyncio.to_thread(registry_codec.decode_all, sorted(texts.items())),
            absent=frozenset(name for name, text in texts.items() if text is None),
            removals={camera_id: as_text(name) for camera_id, name in removals.items()},
            is_complete=is_complete,
            is_rolled_back=kind == "lost",
        )

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(map(as_text, flat[::2]), flat[1::2], strict=True))
