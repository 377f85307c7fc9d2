"""Ownership in Redis or Valkey, by Lua, on the server's clock."""

from __future__ import annotations

import json
import secrets
from typing import Any

from redis.commands.core import AsyncScript

from cache_store import leases, redis_connection, redis_keys
from cache_store.errors import StoreNotReplicated
from cache_store.leases import UNOWNED, Lease, LeaseExpiry, Owner, ProcessIdentity, ShardIncarnation
from cache_store.redis_connection import RedisConnection

_LEASE_TTL_MS = 3_600_000  # of a lease that is not renewed; a takeover needs far less
_RELEASED_TTL_MS = 86_400_000  # of the last epoch of a camera without an owner
_REPLICATION_TIMEOUT_MS = 500

# A full server refuses a script whose first write may need memory, but allows writes after one that needs none. So each
# script begins with such a write: ownership is a few bytes, and without it every camera stops.

# -> the number of renewals: 1 for a new lease, 0 for a retired one.
_RENEW = """
if redis.call('HEXISTS', KEYS[1], 'retired') == 1 then
    return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local renewals = redis.call('HINCRBY', KEYS[1], 'renewals', 1)
if renewals == 1 then
    redis.call('HSET', KEYS[1], 'home', ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return renewals
"""

# -> {1, epoch} when granted, {0, incarnation of the owner} when not. ARGV: the incarnation, the epoch that the new one
# must be above, and the proof that the owner may be replaced: "shard:" with its incarnation, and the renewals of its
# lease or "dead". A new epoch is the time in milliseconds, so that epochs still rise after the server lost its data;
# where its clock steps back, the epoch is the last one plus 1.
_ACQUIRE = """
redis.call('PERSIST', KEYS[1])
local me, min_epoch, replaced, renewals = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
local owner = redis.call('HGET', KEYS[1], 'incarnation') or ''
if owner == me and epoch > min_epoch then
    redis.call('HSET', KEYS[1], 'incarnation', me) -- written again, for a replica to acknowledge
    return {1, epoch}
end
if owner ~= 'free' and owner ~= me then
    if replaced ~= 'shard:' .. owner then
        return {0, owner}
    end
    if renewals ~= 'dead' and renewals ~= (redis.call('HGET', KEYS[2], 'renewals') or '') then
        return {0, owner}
    end
end
local now = redis.call('TIME')
epoch = math.max(epoch + 1, min_epoch + 1, now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'incarnation', me)
return {1, epoch}
"""

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
_FREE = b"free"


class RedisLeases:
    """Leases on a server that speaks Redis 6.2: one primary, with or without replicas; not a Redis Cluster.

    With replicas, and always with Sentinels, a camera is granted only when a replica has the grant too, so that a
    failover cannot lose it. Otherwise StoreNotReplicated is raised; a later try may succeed.

    Keys: `hermes:{CAMERA}:owner`, a hash of epoch and incarnation; `hermes:lease:INCARNATION`, a hash of renewals, home
    (the process identity) and, once revoked, retired. The lease of UNOWNED has an empty incarnation. timeout_s: for one
    operation, which is never retried here, because the caller's own lease runs out meanwhile.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, retries=0)
        self._renew, self._release = map(self._connection.client.register_script, (_RENEW, _RELEASE))

    async def renew(self, incarnation: ShardIncarnation) -> int:
        process = incarnation.process
        text = json.dumps([process.namespace, process.pid, process.started_s] if process else None)
        renewals = int(await self._run(self._renew, [redis_keys.lease(incarnation.id)], [text, _LEASE_TTL_MS]))
        if not renewals:
            raise leases.retired(incarnation)
        return renewals

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
        async with self._connection.operation():
            has_replicas = bool((await self._connection.client.info("replication"))["connected_slaves"])
        must_replicate = has_replicas or self._connection.is_sentinel
        async with self._connection.operation(), self._connection.client.pipeline(transaction=False) as pipeline:
            pipeline.eval(_ACQUIRE, len(keys), *keys, incarnation, min_epoch, *_proof(expiry))
            if must_replicate:
                # Waits for the writes of this connection alone. Inside of a script it would not wait.
                pipeline.wait(1, _REPLICATION_TIMEOUT_MS)
            (is_granted, epoch_or_owner), *replicas = await pipeline.execute()
        if not is_granted:
            raise leases.owned_by_another(camera, redis_connection.as_text(epoch_or_owner))
        if must_replicate and not replicas[0]:
            raise StoreNotReplicated(
                f"store {self._connection.address}: camera {camera!r} is granted, but no replica confirmed it within "
                f"{_REPLICATION_TIMEOUT_MS} ms (at least 1 must)"
            )
        return Owner(int(epoch_or_owner), incarnation)

    async def owner(self, camera: str) -> Owner | None:
        async with self._connection.operation():
            fields = await self._connection.client.hmget(redis_keys.owner(camera), ["epoch", "incarnation"])
        epoch, incarnation = fields
        if not epoch or not incarnation or incarnation == _FREE:
            return None
        return Owner(int(epoch), redis_connection.as_text(incarnation))

    async def lease(self, incarnation: str) -> Lease | None:
        key = redis_keys.lease(incarnation)
        async with self._connection.operation():
            if incarnation == UNOWNED:
                await self._connection.client.hsetnx(key, "home", "null")
                await self._connection.client.hsetnx(key, "renewals", str(secrets.randbits(48)))
            renewals, text = await self._connection.client.hmget(key, ["renewals", "home"])
        if renewals is None or text is None:
            return None
        process = json.loads(text)
        return Lease(ShardIncarnation(incarnation, ProcessIdentity(*process) if process else None), int(renewals))

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        values: list[str | int] = [owner.epoch, owner.incarnation, _RELEASED_TTL_MS, successor or ""]
        await self._run(self._release, [redis_keys.owner(camera)], values)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def _run(self, script: AsyncScript, keys: list[str], values: list[str | int]) -> Any:
        async with self._connection.operation():
            return await script(keys=keys, args=values)


def _proof(expiry: LeaseExpiry | None) -> list[str | int]:
    """The last two arguments of _ACQUIRE."""
    if expiry is None:
        return ["", ""]
    renewals: str | int = "" if expiry.renewals is None else expiry.renewals
    return [f"shard:{expiry.incarnation}", "dead" if expiry.is_dead else renewals]
