"""Empties the shards of one Ray node before it ends: what the preStop hook of a worker pod runs."""

from __future__ import annotations

import asyncio

from actors import detached_shards
from actors.detached_shards import DetachedShard, Progress
from actors.errors import ShardUnavailable


async def drain(node_id: str | None, deadline_s: float, on_progress: Progress) -> list[str]:
    """Ends the cameras of every shard of a node within the deadline: moved, or else saved whole.

    Ray must be joined. node_id: None is the node of this process. Ray starts no more processes there; those that are
    there stay, without cameras. -> what was left, one line each
    """
    node_id = node_id or detached_shards.this_node()
    if not await asyncio.to_thread(detached_shards.cordon, node_id, deadline_s):
        on_progress(f"node {node_id[:8]}: Ray goes on starting processes here")
    shards = [shard for shard in await asyncio.to_thread(detached_shards.find) if shard.node_id == node_id]
    if not shards:
        on_progress(f"node {node_id[:8]}: no shard runs here")
    left = await asyncio.gather(*(_empty(shard, deadline_s, on_progress) for shard in shards))
    return [line for lines in left for line in lines]


async def _empty(shard: DetachedShard, deadline_s: float, on_progress: Progress) -> list[str]:
    try:
        return await shard.leave(deadline_s, on_progress, may_move=True)
    except ShardUnavailable as error:
        return [str(error)]
