"""Ownership in Redis or Valkey, by Lua, on the server's clock."""

from __future__ import annotations

import json
import secrets
from typing import Any

from redis.commands.core import AsyncScript

from cache_store import leases, redis_connection, redis_store
from cache_store.checkpoint import StoreNotReplicated
from cache_store.leases import UNOWNED, Lease, LeaseExpiry, Owner, ProcessIdentity, ShardIncarnation
from cache_store.redis_connection import RedisConnection

# A lease that nobody renewed for so long says nothing any more; a takeover needs far less.
_KEPT_MS = 3_600_000
_REPLICATED_WITHIN_MS = 500
_FREE_KEPT_MS = 86_400_000  # the last epoch of a camera that nobody owns

# A server that is full refuses a script's first write if it may need memory, but not what follows one that needs none.
# So each script begins with such a write: who owns what is a few bytes, and without them every camera falls silent.

# Times that it has been renewed, 1 for a lease that was not there, 0 for one that is renewed no more.
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

# {1, epoch} when granted, {0, owner} when not. An epoch counts milliseconds where it can, so that it goes on
# rising when the server has lost what it knew; where its clock steps back, it counts on from the last one.
_ACQUIRE = """
redis.call('PERSIST', KEYS[1])
local me, floor, followed, stands_at = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
local owner = redis.call('HGET', KEYS[1], 'incarnation') or ''
if owner == me and epoch > floor then
    redis.call('HSET', KEYS[1], 'incarnation', me) -- written again, for a replica to acknowledge
    return {1, epoch}
end
if owner ~= 'free' and owner ~= me then
    if followed ~= 'shard:' .. owner then
        return {0, owner}
    end
    if stands_at ~= 'dead' and stands_at ~= (redis.call('HGET', KEYS[2], 'renewals') or '') then
        return {0, owner}
    end
end
local now = redis.call('TIME')
epoch = math.max(epoch + 1, floor + 1, now[1] * 1000 + math.floor(now[2] / 1000))
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
    """Leases on any server that speaks Redis 6.2: one primary, with or without replicas; not a Redis Cluster.

    Where there are replicas, and always with Sentinels, a camera is granted only when one of them knows it too: what
    a failover cannot lose. Else StoreNotReplicated is raised; whoever asks again may get it.

    Keys: `hermes:{CAMERA}:owner` with the fields epoch and incarnation, `hermes:lease:INCARNATION` with renewals, home
    and, once it shall stop, retired (NOBODY's lease is the one without a name). timeout_s: for one operation, which is
    never tried again here: who renews a lease wants to know.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, retries=0)
        self._renew, self._release = map(self._connection.client.register_script, (_RENEW, _RELEASE))

    async def renew(self, incarnation: ShardIncarnation) -> int:
        home = incarnation.home
        text = json.dumps([home.place, home.pid, home.born_s] if home else None)
        renewals = int(await self._run(self._renew, [_lease(incarnation.id)], [text, _KEPT_MS]))
        if not renewals:
            raise leases.retired(incarnation)
        return renewals

    async def retire(self, incarnation: str) -> None:
        key = _lease(incarnation)
        async with self._connection.translated(), self._connection.client.pipeline() as together:
            together.hset(key, "retired", "1")
            together.pexpire(key, _KEPT_MS)
            await together.execute()

    async def acquire(self, camera: str, incarnation: str, *, floor: int = 0, gone: LeaseExpiry | None = None) -> Owner:
        keys = [redis_store.owner_key(camera), _lease(gone.incarnation if gone else UNOWNED)]
        async with self._connection.translated():
            has_replicas = bool((await self._connection.client.info("replication"))["connected_slaves"])
        must_wait = has_replicas or self._connection.is_sentinel
        async with self._connection.translated(), self._connection.client.pipeline(transaction=False) as together:
            together.eval(_ACQUIRE, len(keys), *keys, incarnation, floor, *_told(gone))
            if must_wait:
                # Of this very connection's writes; inside of a script it would not wait.
                together.wait(1, _REPLICATED_WITHIN_MS)
            (is_granted, told), *acknowledged = await together.execute()
        if not is_granted:
            raise leases.owned_by(camera, redis_connection.as_text(told))
        if must_wait and not acknowledged[0]:
            raise StoreNotReplicated(
                f"store {self._connection.where}: camera {camera!r} is granted, but no replica said within "
                f"{_REPLICATED_WITHIN_MS} ms that it knows (at least 1)"
            )
        return Owner(int(told), incarnation)

    async def owner(self, camera: str) -> Owner | None:
        async with self._connection.translated():
            epoch, held = await self._connection.client.hmget(redis_store.owner_key(camera), ["epoch", "incarnation"])
        return Owner(int(epoch), redis_connection.as_text(held)) if epoch and held and held != _FREE else None

    async def lease(self, incarnation: str) -> Lease | None:
        key = _lease(incarnation)
        async with self._connection.translated():
            if incarnation == UNOWNED:
                await self._connection.client.hsetnx(key, "home", "null")
                await self._connection.client.hsetnx(key, "renewals", str(secrets.randbits(48)))
            renewals, home = await self._connection.client.hmget(key, ["renewals", "home"])
        if renewals is None or home is None:
            return None
        told = json.loads(home)
        return Lease(ShardIncarnation(incarnation, ProcessIdentity(*told) if told else None), int(renewals))

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        told: list[str | int] = [owner.epoch, owner.incarnation, _FREE_KEPT_MS, successor or ""]
        await self._run(self._release, [redis_store.owner_key(camera)], told)

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._connection.close()

    async def _run(self, script: AsyncScript, keys: list[str], values: list[str | int]) -> Any:
        async with self._connection.translated():
            return await script(keys=keys, args=values)


def _told(gone: LeaseExpiry | None) -> list[str | int]:
    """Whose lease stands how, as the script wants it."""
    if gone is None:
        return ["", ""]
    renewals: str | int = "" if gone.renewals is None else gone.renewals
    return [f"shard:{gone.incarnation}", "dead" if gone.is_dead else renewals]


def _lease(incarnation: str) -> str:
    return f"hermes:lease:{incarnation}"
