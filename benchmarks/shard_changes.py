"""Changes of the shards of a running system, and the seconds of each. Each ends when all cameras are live again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.fleet.fleet import Fleet
from actors.fleet.views import CameraView, ShardView
from benchmarks import outages, serving
from benchmarks.questioning import Questioning
from pipeline.cameras import CameraState

_POLL_S = 0.1


async def add_beyond_room(fleet: Fleet, questioning: Questioning, number: int) -> float:
    """Adds the camera that finds no slot, and removes it in the end. -> the seconds until it answers, on a new shard"""
    camera, began_s = outages.camera(number), time.monotonic()
    added = await fleet.add_camera(camera)
    assert added.status.state is CameraState.WAITING
    await questioning.until_answer(camera.name)
    took_s = time.monotonic() - began_s
    await fleet.remove_camera(camera.name)
    await until_spread(fleet, 2)
    return took_s


async def terminate(fleet: Fleet) -> float:
    """SIGTERM to shard 0, which has all cameras; shard 1 is empty. -> the seconds until all are live on shard 1"""
    drained = await fleet.drain(1)
    assert not drained.not_moved, drained
    source, _ = await fleet.list_shards()
    assert source.pid is not None
    began_s, names = time.monotonic(), set(source.cameras)
    os.kill(source.pid, signal.SIGTERM)
    await fleet.undrain(1)
    while names:
        names -= {view.spec.name for view in await fleet.list_cameras() if is_live(view) and view.shard_index == 1}
        await asyncio.sleep(_POLL_S)
    took_s = time.monotonic() - began_s
    await until_spread(fleet, 2)
    return took_s


async def scale(fleet: Fleet, *counts: int) -> float:
    """So many shards, one number after the other. -> the seconds that all of it took"""
    began_s = time.monotonic()
    for count in counts:
        await fleet.scale(count, count)
        await until_spread(fleet, count)
    return time.monotonic() - began_s


async def upgrade(fleet: Fleet, config: Path, log: Path) -> float:
    """A server of a newer build replaces every shard. -> the seconds from its start until all are of its build"""
    began_s, before = time.monotonic(), {shard.pid for shard in await fleet.list_shards()}
    with serving.running(config, build="newer", log=log) as server:
        await _until(fleet, lambda shards: not before & {shard.pid for shard in shards})
        took_s = time.monotonic() - began_s
        assert server.poll() is None, f"the newer server has ended: {log}"
    return took_s


def move_pauses_s(log: Path) -> list[float]:
    """For each move that this server's log tells of, how long it paused its camera."""
    return [float(pause_s) for pause_s in re.findall(r"event=camera_moved .*paused_s=([\d.]+)", log.read_text())]


async def until_spread(fleet: Fleet, count: int) -> None:
    """Waits until there are so many shards, and the numbers of their cameras differ by at most one."""

    def is_spread(shards: Sequence[ShardView]) -> bool:
        counts = [len(shard.cameras) for shard in shards]
        return len(shards) == count and max(counts) - min(counts) < 2

    await _until(fleet, is_spread)


async def until_watched(fleet: Fleet) -> None:
    """Waits until every memory has frames."""
    while not all(view.status.memory.frames_seen for view in await fleet.list_cameras()):  # noqa: ASYNC110 - no event
        await asyncio.sleep(_POLL_S)


def is_live(view: CameraView) -> bool:
    """Whether a shard watches the camera."""
    return view.status.state is CameraState.LIVE


async def _until(fleet: Fleet, condition: Callable[[Sequence[ShardView]], bool]) -> None:
    """Waits until all shards are up for good, all cameras are live and the condition holds."""
    while True:
        shards = await fleet.list_shards()
        is_settled = all(shard.is_up and not shard.detail and not shard.is_draining for shard in shards)
        if is_settled and condition(shards) and all(map(is_live, await fleet.list_cameras())):
            return
        await asyncio.sleep(_POLL_S)
