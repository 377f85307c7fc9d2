"""A shard whose cameras are read by worker processes."""

from __future__ import annotations

import os
import signal
from functools import partial

from tests.actors.shard import shards
from tests.actors.shard.shards import Running, live
from tests.actors.waiting import until
from tests.pipeline.workers import pools


async def test_a_film_that_a_worker_reads_is_remembered_whole_and_the_worker_ends(running: Running, film: str) -> None:
    before = pools.children()
    async with running(workers=1) as shard:
        await shards.watch_whole(shard, "film", film)
        assert len(pools.children() - before) == 1

    assert pools.children() == before


async def test_answers_go_on_while_the_workers_of_a_shard_are_killed(running: Running) -> None:
    before = pools.children()
    async with running(workers=1) as shard:
        await shard.add_camera(live())
        for kills in range(3):
            await until(partial(shards.has_frames, shard, "street", 4 * kills + 4))
            for worker in pools.children() - before:
                os.kill(worker, signal.SIGKILL)
            assert [event async for event in shard.ask("street", "what is in view")]
        await until(partial(shards.has_frames, shard, "street", 16))

    assert pools.children() == before
