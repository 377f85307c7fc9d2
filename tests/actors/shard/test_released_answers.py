"""An answer runs on a copy of the memory: a move of its camera breaks off none that was begun."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.answers import Done, Started, UnknownCamera
from tests.actors.shard.shards import Running, assignment, watch_whole
from tests.actors.waiting import until


async def test_an_answer_that_was_begun_goes_on_while_the_next_owner_has_the_camera(
    running: Running, film: str
) -> None:
    async with running() as shard, running() as successor:
        await watch_whole(shard, "film", film)
        begun = shard.ask("film", "what is in view")
        started = await anext(begun)

        await shard.release_camera("film", successor=(await successor.status()).incarnation)
        await successor.add_camera(assignment("film", film))
        with pytest.raises(UnknownCamera):
            await anext(shard.ask("film", "what is in view"))
        next_started = await anext(successor.ask("film", "what is in view"))
        events = [event async for event in begun]

        assert isinstance(started, Started)
        assert isinstance(next_started, Started)
        assert started.epoch < next_started.epoch
        assert isinstance(events[-1], Done)


async def test_a_shard_that_leaves_waits_for_the_answers_of_cameras_that_it_has_given_up(
    running: Running, film: str
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        begun = shard.ask("film", "what is in view")
        await anext(begun)
        leaving = asyncio.create_task(shard.leave(600.0, may_move=False))
        await until(lambda: not shard._streams.owned)
        await asyncio.wait([leaving], timeout=0)

        is_over = leaving.done()
        events = [event async for event in begun]

        assert not is_over
        assert isinstance(events[-1], Done)
        assert (await leaving).saved == ("film",)


async def test_a_shard_closes_once_its_answers_have_ended(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        begun = shard.ask("film", "what is in view")
        await anext(begun)
        await shard.release_camera("film")
        closing = asyncio.create_task(shard.close())

        events = [event async for event in begun]
        await closing

        assert isinstance(events[-1], Done)
