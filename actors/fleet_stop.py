"""Ends the shards of a cluster for good, each with its memories saved."""

from __future__ import annotations

import asyncio

from actors import detached_shards
from actors.detached_shards import DetachedShard, Progress
from actors.errors import ServersRunning, ShardUnavailable
from actors.fleet.server_presence import ServerPresence

_AT_ONCE = 4  # each saves all of its memories
_SERVERS_END_S = 60.0
_POLL_EVERY_S = 0.5


async def stop(store_url: str, grace_s: float, on_progress: Progress, *, force: bool) -> list[str]:
    """Ends every shard of the cluster that was joined. force: ends the servers first that still serve.

    -> what was left, one line each: cameras that were not saved, shards that did not answer, servers that did not end.
    Raises ServersRunning without force, StoreUnavailable.
    """
    presence = ServerPresence(store_url)
    try:
        left = await _end_servers(presence, on_progress, force=force)
    finally:
        await presence.close()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def end(shard: DetachedShard) -> list[str]:
        async with slots:
            return await _end(shard, grace_s, on_progress)

    shards = await asyncio.to_thread(detached_shards.find)
    if not shards:
        on_progress("no shard runs in this cluster")
    for lines in await asyncio.gather(*map(end, shards)):
        left += lines
    return left


async def _end_servers(presence: ServerPresence, on_progress: Progress, *, force: bool) -> list[str]:
    serving = await presence.serving()
    if serving and not force:
        raise ServersRunning(
            f"{len(serving)} servers still serve these shards, and would start them again: {', '.join(serving[:8])}; "
            "end them first, or pass force (--force) to end them too"
        )
    for address in serving:
        on_progress(f"server {address}: asked to end")
        await presence.request_end(address)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _SERVERS_END_S
    while serving and loop.time() < deadline_s:
        await asyncio.sleep(_POLL_EVERY_S)
        serving = await presence.serving()
    return [f"server {address}: did not end within {_SERVERS_END_S:g} s" for address in serving]


async def _end(shard: DetachedShard, grace_s: float, on_progress: Progress) -> list[str]:
    if not await asyncio.to_thread(lambda: shard.node_id):
        await asyncio.to_thread(shard.kill)
        on_progress(f"{shard.name}: had no process")
        return []
    try:
        left = await shard.leave(grace_s, on_progress, may_move=False)
    except ShardUnavailable as error:
        return [f"{error}; it runs on"]
    await asyncio.to_thread(shard.kill)
    return left
