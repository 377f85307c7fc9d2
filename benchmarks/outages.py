"""Faults and moves in a running system, and for how long its cameras give no right answer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from structlog.testing import capture_logs

from actors.errors import ServiceError
from actors.fleet.fleet import Fleet
from benchmarks.nodes import Nodes
from cache_store.errors import StoreError
from models.tiny.scenes import questions
from models.tiny.scenes.scene import Scene
from pipeline.answers import Done, QuestionError
from pipeline.cameras import CameraSpec

_QUESTION = "what came first"
_GAP_S = 6
_SAMPLE_FPS = 2.0
_MAX_SILENCE_S = 90.0
_ASK_EVERY_S = 0.05
_HANG_S = 20.0
_BALANCE_TIMEOUT_S = 180.0

Fault = Callable[[Nodes, int], None]

FAULTS: dict[str, Fault] = {
    "process_kill": lambda _, pid: os.kill(pid, signal.SIGKILL),
    "node_kill": Nodes.kill,
    "node_hang": Nodes.hang,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """One shard lost. silent_s: for how long each of its cameras gave no right answer."""

    fault: str
    shard: int
    silent_s: list[float]


@dataclass(frozen=True, slots=True)
class Moves:
    """Cameras moved. paused_s: for each move, how long questions waited; frames_lost: sampled frames, in all."""

    paused_s: list[float]
    frames_lost: int


@dataclass(frozen=True, slots=True)
class _Progress:
    frames: int
    newest_s: float


def camera(number: int) -> CameraSpec:
    """A simulated camera whose first visitor leaves soon, so that a right answer needs the memory of before."""
    name = f"camera{number}"
    return CameraSpec(name=name, url=f"sim:street?seed={_seed(name)}&gap={_GAP_S}")


async def lose_shard(fleet: Fleet, cluster: Nodes, fault: str) -> Loss:
    """Injects a fault into the shard with the most cameras, and asks each of them until its answer is right."""
    fullest = max(await fleet.list_shards(), key=lambda shard: len(shard.cameras))
    assert fullest.pid is not None
    FAULTS[fault](cluster, fullest.pid)
    silent_s = await asyncio.gather(*(until_right_s(fleet, name) for name in fullest.cameras))
    return Loss(fault, fullest.index, [round(silence, 2) for silence in silent_s])


async def repair(fleet: Fleet, cluster: Nodes, fault: str, spares: int = 0) -> None:
    """Ends the fault, and waits until all shards are up and their cameras, spares apart, differ by at most one."""
    if fault == "node_hang":
        await asyncio.sleep(_HANG_S)
        cluster.wake()
    if fault != "process_kill":
        cluster.add()
    async with asyncio.timeout(_BALANCE_TIMEOUT_S):
        while True:
            shards = await fleet.list_shards()
            counts = sorted(len(shard.cameras) for shard in shards)[spares:]
            if all(shard.is_up for shard in shards) and max(counts) - min(counts) < 2:
                return
            await asyncio.sleep(1.0)


async def move_cameras(fleet: Fleet, count: int) -> Moves:
    """Moves cameras in turn, each to another shard. The pauses are those that the fleet logs."""
    names = sorted(view.status.name for view in await fleet.list_cameras())
    before = await _progress(fleet)
    with capture_logs() as events:
        for number in range(count):
            await fleet.move_camera(names[number % len(names)])
            await asyncio.sleep(0.5)
    await asyncio.sleep(5.0)
    after = await _progress(fleet)
    frames_lost = sum(
        round((after[name].newest_s - before[name].newest_s) * _SAMPLE_FPS) - (after[name].frames - before[name].frames)
        for name in names
    )
    return Moves([event["paused_s"] for event in events if "paused_s" in event], frames_lost)


async def until_right_s(fleet: Fleet, name: str) -> float:
    """Asks until the answer is right. -> how long that took, at most 90 s"""
    began_s = time.monotonic()
    street = Scene(_seed(name), mean_gap_s=_GAP_S)
    while time.monotonic() - began_s < _MAX_SILENCE_S:
        now_s = time.time() - fleet.started_s(name)
        if await _answer(fleet, name) == questions.answer_at(_QUESTION, street.visits(now_s), now_s):
            return time.monotonic() - began_s
        await asyncio.sleep(_ASK_EVERY_S)
    return _MAX_SILENCE_S


async def _answer(fleet: Fleet, name: str) -> str | None:
    try:
        async for event in fleet.ask(name, _QUESTION):
            if isinstance(event, Done):
                return event.answer
    except (ServiceError, QuestionError, StoreError):
        pass
    return None


async def _progress(fleet: Fleet) -> dict[str, _Progress]:
    return {
        view.status.name: _Progress(view.status.memory.frames_seen, view.status.memory.newest_s or 0.0)
        for view in await fleet.list_cameras()
    }


def _seed(name: str) -> int:
    return 7_000 + int(name.removeprefix("camera"))
