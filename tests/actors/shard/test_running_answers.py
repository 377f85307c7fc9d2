"""A camera is given up only once its answers have ended: a move breaks off no answer."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.answers import Done, Started, UnknownCamera
from tests.actors.shard.shards import Running, watch_whole
from tests.actors.waiting import until


async def test_an_answer_that_was_begun_ends_before_its_camera_is_released(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        begun = shard.ask("film", "what is in view")
        assert isinstance(await anext(begun), Started)

        release = asyncio.create_task(shard.release_camera("film"))
        await until(lambda: "film" in shard._lifecycle.answers._closed)
        with pytest.raises(UnknownCamera):
            await anext(shard.ask("film", "what is in view"))
        events = [event async for event in begun]
        await release

        assert isinstance(events[-1], Done)
        assert (await shard.status()).cameras == ()


async def test_an_answer_that_nobody_reads_does_not_hold_its_camera(
    running: Running, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.shard.running_answers._MAX_WAIT_S", 0.0)
    async with running() as shard:
        await watch_whole(shard, "film", film)
        begun = shard.ask("film", "what is in view")
        await anext(begun)

        await shard.release_camera("film")

        assert (await shard.status()).cameras == ()
