"""A shard with cameras of every network kind, whose workers are killed in every way while people ask."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from actors.shard.camera_shard import CameraShard
from pipeline.answers import Done
from pipeline.cameras import CameraState, PlaybackSpeed
from pipeline.workers import pool
from pipeline.workers.worker_cameras import WorkerLimits
from tests.actors.shard import shards
from tests.actors.shard.shards import Running
from tests.actors.waiting import until
from tests.pipeline import field_cameras
from tests.pipeline.workers import pools

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
NUM_WORKERS = 2
# Each kill has a cause of its own here, so no camera is suspected.
LIMITS = partial(WorkerLimits, soon_s=0.0, hang_s=1.5)


async def ask_for_ever(shard: CameraShard, camera: str) -> None:
    while True:
        events = [event async for event in shard.ask(camera, "what is in view")]
        assert isinstance(events[-1], Done), events


def is_gone(pid: int) -> bool:
    return pid not in pools.children()


async def frames_of(shard: CameraShard) -> dict[str, int]:
    return {camera.name: camera.memory.frames_seen for camera in (await shard.status()).cameras}


async def are_live_with(shard: CameraShard, frames: dict[str, int]) -> bool:
    """Whether every camera is live and has as many frames."""
    return all(
        camera.state is CameraState.LIVE and camera.memory.frames_seen >= frames[camera.name]
        for camera in (await shard.status()).cameras
    )


async def kill_often(shard: CameraShard, kills: int, workers_of: set[int]) -> None:
    """Kills one worker with cameras after the other, each time every camera has given frames since.

    workers_of: no workers. A worker that is younger than those with cameras is a spare: nothing notices its end.
    """
    for number in range(kills):
        workers = sorted(pools.children() - workers_of)[:NUM_WORKERS]
        os.kill(workers[number % len(workers)], SIGNALS[number % len(SIGNALS)])
        await until(partial(is_gone, workers[number % len(workers)]))
        after = {name: frames + 1 for name, frames in (await frames_of(shard)).items()}
        await until(partial(are_live_with, shard, after))


async def watch_killed_workers(running: Running, folder: Path, kills: int) -> None:
    before = pools.children()
    with pools.leaving_nothing(), field_cameras.running(folder) as urls:
        async with running(workers=NUM_WORKERS, max_cameras=len(urls)) as shard:
            for name, url in urls.items():
                await shard.add_camera(shards.assignment(name, url, PlaybackSpeed.LIVE))
            await until(partial(are_live_with, shard, dict.fromkeys(urls, 2)))
            asking = [asyncio.create_task(ask_for_ever(shard, name)) for name in urls]
            await kill_often(shard, kills, before)
            for task in asking:
                task.cancel()
            ends = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(end) for end in ends] == [asyncio.CancelledError] * len(urls)


async def test_cameras_of_every_kind_come_back_from_killed_workers_and_no_answer_fails(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WorkerLimits", LIMITS)

    await watch_killed_workers(running, tmp_path, kills=3)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_cameras_of_every_kind_come_back_from_twenty_killed_workers(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WorkerLimits", LIMITS)

    await watch_killed_workers(running, tmp_path, kills=20)
