"""A shard that is told to end gives its cameras up: moved where another shard takes them, else saved whole."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from actors.errors import InvalidShard
from actors.shard.camera_shard import CameraShard
from actors.shard.departure import Departure
from tests.actors.shard.shards import FRAMES_SAMPLED, Running, UnreliableStore, assignment, status, watch_whole
from tests.actors.waiting import until


async def test_what_nobody_takes_over_is_saved_whole_for_the_next_owner(running: Running, film: str) -> None:
    async with running() as shard, running() as successor:
        await watch_whole(shard, "film", film)
        departure = await shard.leave(60.0, may_move=False)
        await successor.add_camera(assignment("film", film))
        memory = (await status(successor, "film")).memory

    assert departure == Departure(saved=("film",))
    assert (memory.frames_seen, memory.gaps) == (FRAMES_SAMPLED, ())


async def test_a_camera_that_another_shard_takes_over_meanwhile_is_counted_as_moved(
    running: Running, film: str
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        leaving = asyncio.create_task(shard.leave(600.0, may_move=True))
        await until(partial(_is_draining, shard))
        with pytest.raises(InvalidShard, match="told to end"):
            await shard.undrain()
        await shard.release_camera("film", successor=None)

        assert await leaving == Departure(moved=1)


async def test_a_camera_that_cannot_be_saved_is_named(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        checkpoints.is_down = True
        departure = await shard.leave(60.0, may_move=False)
        checkpoints.is_down = False

    assert departure == Departure(unsaved=("film",))


async def _is_draining(shard: CameraShard) -> bool:
    return (await shard.status()).is_draining
