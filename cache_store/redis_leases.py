"""Ownership in Redis or Valkey, by Lua, on the server's clock."""

from __future__ import annotations

import json
import secrets
from typing import Any

from redis.commands.core import AsyncScript

from cache_store import leases, redis_connection, redis_keys
from cache_store.leases import (
    FENCED,
    UNOWNED,
    Lease,
    LeaseExpiry,
    Owner,
    ProcessIdentity,
    Renewal,
    ShardIncarnation,
)
from cache_store.redis_connection import RedisConnection

_LEASE_TTL_MS = 3_600_000  # of a lease that is not renewed; a takeover needs far less
_RELEASED_TTL_MS = 86_400_000  # of the last epoch of a camera without an owner
_FENCED_TTL_MS = 86_400_000  # of a removed camera; what may save it late has ended long before

# A full server refuses a script whose first write may need memory, but allows writes after one that needs none. So each
# script begins with such a write: ownership is a few bytes, and without it every camera stops.

# -> {number of renewals, number of takeovers}: 1 renewal for a new lease, 0 for a retired one. A reader of the version
# before compares the wall-clock time of a process's start in `home`, so it finds none there.
_RENEW = """
if redis.call('HEXISTS', KEYS[1], 'retired') == 1 then
    return {0, 0}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local renewals = redis.call('HINCRBY', KEYS[1], 'renewals', 1)
if renewals == 1 then
    redis.call('HSET', KEYS[1], 'home', 'null', 'process', ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {renewals, tonumber(redis.call('HGET', KEYS[1], 'takeovers') or 0)}
"""

# -> {1, epoch} when granted, {0, incarnation of the owner} when not. ARGV: the incarnation, the epoch that the new one
# must be above, and the proof that the owner may be replaced: "shard:" with its incarnation, and the renewals of its
# lease or "dead". A new epoch is the time in milliseconds, so that epochs still rise after the server lost its data;
# where its clock steps back, the epoch is the last one plus 1. A takeover is counted in the lease of the owner before,
# apart from its renewals: those are the proof for its other cameras.
_EPOCH = """
local function next_epoch(epoch)
    local now = redis.call('TIME')
    return math.max(epoch + 1, now[1] * 1000 + math.floor(now[2] / 1000))
end
local function grant(key, epoch, incarnation)
    redis.call('HSET', key, 'epoch', string.format('%.0f', epoch), 'incarnation', incarnation)
end
local function count_takeover(lease)
    if redis.call('EXISTS', lease) == 1 then
        redis.call('HINCRBY', lease, 'takeovers', 1)
    end
end
"""
_ACQUIRE = (
    _EPOCH
    + """
redis.call('PERSIST', KEYS[1])
local me, min_epoch, replaced, renewals = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
local owner = redis.call('HGET', KEYS[1], 'incarnation') or ''
if owner == me and epoch > min_epoch then
    redis.call('HSET', KEYS[1], 'incarnation', me) -- written again, for a replica to acknowledge
    return {1, epoch}
end
if owner ~= 'free' and owner ~= me then
    if owner == 'fenced' or replaced ~= 'shard:' .. owner then
        return {0, owner}
    end
    if renewals ~= 'dead' and renewals ~= (redis.call('HGET', KEYS[2], 'renewals') or '') then
        return {0, owner}
    end
    count_takeover(KEYS[2])
end
epoch = next_epoch(math.max(epoch, min_epoch))
grant(KEYS[1], epoch, me)
return {1, epoch}
"""
)

# -> {1, epoch of the fence}. ARGV: what the keys of leases begin with, and how long the fence is kept.
_FENCE = (
    _EPOCH
    + """
redis.call('PERSIST', KEYS[1])
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
local owner = redis.call('HGET', KEYS[1], 'incarnation') or ''
if owner ~= 'fenced' then
    epoch = next_epoch(epoch)
    count_takeover(ARGV[1] .. owner)
end
grant(KEYS[1], epoch, 'fenced')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, epoch}
"""
)

_RELEASE = """
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] and redis.call('HGET', KEYS[1], 'incarnation') == ARGV[2] then
    if ARGV[4] == '' then
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
        redis.call('HSET', KEYS[1], 'incarnation', 'free')
    else
        redis.call('PERSIST', KEYS[1])
        redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', ARGV[1] + 1), 'incarnation', ARGV[4])
    end
end
"""


class RedisLeases:
    """Leases on a server that speaks Redis 6.2: one primary, with or without replicas; not a Redis Cluster.

    With replicas, and always with Sentinels, a camera is granted only when a replica has the grant too, so that a
    failover cannot lose it. Otherwise StoreNotReplicated is raised; a later try may succeed.

    Keys: `hermes:{CAMERA}:owner`, a hash of epoch and incarnation; `hermes:lease:INCARNATION`, a hash of renewals,
    takeovers, process (its identity; `home` in the version before) and, once revoked, retired. The lease of UNOWNED has
    an empty incarnation. timeout_s: for one operation, which is never retried here, because the caller's own lease runs
    out meanwhile.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, retries=0)
        self._renew, self._release = map(self._connection.client.register_script, (_RENEW, _RELEASE))

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        process = incarnation.process
        text = json.dumps([process.namespace, process.pid, process.start_ticks] if process else None)
        renewal = Renewal(*await self._run(self._renew, [redis_keys.lease(incarnation.id)], [text, _LEASE_TTL_MS]))
        if not renewal.count:
            raise leases.retired(incarnation)
        return renewal

    async def retire(self, incarnation: str) -> None:
        key = redis_keys.lease(incarnation)
        async with self._connection.operation(), self._connection.client.pipeline() as pipeline:
            pipeline.hset(key, "retired", "1")
            pipeline.pexpire(key, _LEASE_TTL_MS)
            await pipeline.execute()

    async def acquire(
        self, camera: str, incarnation: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None
    ) -> Owner:
        keys = [redis_keys.owner(camera), redis_keys.lease(expiry.incarnation if expiry else UNOWNED)]
        is_granted, detail = await self._grant(camera, _ACQUIRE, keys, [incarnation, min_epoch, *_proof(expiry)])
        if not is_granted:
            raise leases.refused(camera, redis_connection.as_text(detail))
        return Owner(int(detail), incarnation)

    async def owner(self, camera: str) -> Owner | None:
        async with self._connection.operation():
            fields = await self._connection.client.hmget(redis_keys.owner(camera), ["epoch", "incarnation"])
        epoch, incarnation = fields
        if not epoch or not incarnation:
            return None
        return Owner(int(epoch), redis_connection.as_text(incarnation))

    async def lease(self, incarnation: str) -> Lease | None:
        key = redis_keys.lease(incarnation)
        async with self._connection.operation():
            if incarnation == UNOWNED:
                await self._connection.client.hsetnx(key, "home", "null")
                await self._connection.client.hsetnx(key, "renewals", str(secrets.randbits(48)))
            renewals, home, process = await self._connection.client.hmget(key, ["renewals", "home", "process"])
        if renewals is None or home is None:
            return None
        return Lease(ShardIncarnation(incarnation, _process(process, home)), int(renewals))

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        values: list[str | int] = [owner.epoch, owner.incarnation, _RELEASED_TTL_MS, successor or ""]
        await self._run(self._release, [redis_keys.owner(camera)], values)

    async def fence(self, camera: str) -> Owner:
        values: list[str | int] = [redis_keys.lease(""), _FENCED_TTL_MS]
        _, epoch = await self._grant(camera, _FENCE, [redis_keys.owner(camera)], values)
        return Owner(int(epoch), FENCED)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def _grant(self, camera: str, script: str, keys: list[str], values: list[str | int]) -> Any:
        """Runs a script that changes a camera's owner, and has a replica acknowledge it where there are replicas."""
        return await self._connection.run_replicated(
            script, keys, values, what=f"the owner of camera {camera!r}", has_written=lambda outcome: bool(outcome[0])
        )

    async def _run(self, script: AsyncScript, keys: list[str], values: list[str | int]) -> Any:
        async with self._connection.operation():
            return await script(keys=keys, args=values)


def _proof(expiry: LeaseExpiry | None) -> list[str | int]:
    """The last two arguments of _ACQUIRE."""
    if expiry is None:
        return ["", ""]
    renewals: str | int = "" if expiry.renewals is None else expiry.renewals
    return [f"shard:{expiry.incarnation}", "dead" if expiry.is_dead else renewals]


def _process(text: str | bytes | None, home: str | bytes) -> ProcessIdentity | None:
    """The identity in a lease, or in one of the version before, whose start times were of the wall clock."""
    process = json.loads(home if text is None else text)
    if not process:
        return None
    namespace, pid, start = process
    return ProcessIdentity(namespace, pid, None if text is None else start)
