"""Lets a shard that must end give its cameras up: other shards take them over, and what stays is saved whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from actors import task_cancellation
from actors.shard.camera_lifecycle import CameraLifecycle
from actors.shard.camera_streams import CameraStreams
from actors.shard.question_counter import QuestionCounter

log = structlog.get_logger(__name__)

_MOVING_SHARE = 0.5  # of the grace period; the rest is for saving what no other shard has taken over
_POLL_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Departure:
    """What became of a shard's cameras: how many moved, and the names of those that were saved whole and of those that
    were not. A camera that was not saved keeps its last checkpoint.
    """

    moved: int = 0
    saved: tuple[str, ...] = ()
    unsaved: tuple[str, ...] = ()


async def depart(
    streams: CameraStreams, lifecycle: CameraLifecycle, questions: QuestionCounter, grace_s: float, *, may_move: bool
) -> Departure:
    """Waits for the fleet to move the cameras of a draining shard, then saves and releases those that are left.

    The answers that run end too. Takes at most the grace period, half of it for moves. may_move: False saves all of
    them at once.
    """
    loop = asyncio.get_running_loop()
    began_s, before = loop.time(), len(streams.owned)
    log.info("shard_leaving", cameras=before, grace_s=grace_s)
    while may_move and streams.owned and loop.time() - began_s < grace_s * _MOVING_SHARE:  # noqa: ASYNC110 - rare
        await asyncio.sleep(_POLL_EVERY_S)
    names = {camera_id: stream.spec.name for camera_id, stream in streams.owned.items()}
    saves = {asyncio.create_task(lifecycle.release(camera_id, successor=None)): names[camera_id] for camera_id in names}
    if saves:
        await asyncio.wait(saves, timeout=max(0.0, grace_s - (loop.time() - began_s)))
    saved, unsaved = [], []
    for save, name in saves.items():
        if save.done() and save.exception() is None:
            saved.append(name)
            continue
        reason = str(save.exception()) if save.done() else f"not saved within {grace_s:g} s"
        log.error("camera_not_saved", camera=name, reason=reason)
        unsaved.append(name)
    await task_cancellation.end(*saves)
    await questions.until_idle(grace_s - (loop.time() - began_s))
    log.info("shard_left", moved=before - len(names), saved=len(saved), unsaved=len(unsaved))
    return Departure(before - len(names), tuple(sorted(saved)), tuple(sorted(unsaved)))
