"""A camera moves to a machine whose clock differs: by real streams, the real mover and two shards."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from actors.fleet.fleet import Fleet
from actors.fleet.registry import InMemoryRegistry
from actors.fleet.scaler import FleetSize
from actors.ownership.failure_detector import FailureDetector
from actors.shard.camera_shard import CameraShard
from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, CameraStatus
from tests.actors.scripted import RecordingEraser
from tests.actors.shard.shards import Running, UnreliableStore, status
from tests.actors.waiting import until

PERIOD_S = 0.5
FRAMES_AFTER = 6


def clock_ahead(seconds: float) -> Callable[[], float]:
    return lambda: time.time() + seconds


async def moved(
    one: CameraShard, other: CameraShard, store: UnreliableStore
) -> tuple[CameraStatus, list[CameraStatus]]:
    """The camera's status on the first shard, right before its move, and on the other one until it has read more."""
    detector = FailureDetector(store.leases, lease_length_s=0.0)
    fleet = Fleet(FleetSize.fixed([one, other]), detector, InMemoryRegistry(), RecordingEraser().seam)
    await other.drain()
    await fleet.reconcile()
    await fleet.add_camera(CameraSpec(name="street", url="sim:street"))

    async def is_watched() -> bool:
        await fleet.reconcile()
        return any(camera.memory.frames_seen >= 4 for camera in (await one.status()).cameras)

    await until(is_watched)
    before = await found(one)
    await other.undrain()
    await fleet.reconcile()
    await fleet.move_camera("street", 1)
    after = [await found(other)]

    async def has_read_more() -> bool:
        after.append(await found(other))
        return after[-1].memory.frames_seen >= after[0].memory.frames_seen + FRAMES_AFTER

    await until(has_read_more)
    return before, after


async def found(shard: CameraShard) -> CameraStatus:
    return await status(shard, "street")


def frames_in(camera: CameraStatus, since_s: float, frames_before: int) -> int:
    """How many frames the times of a memory since then have place for, gaps left out."""
    newest_s = camera.memory.newest_s
    assert newest_s is not None
    gaps_s = [gap.end_s - gap.start_s - PERIOD_S for gap in camera.memory.gaps]
    return frames_before + round((newest_s - since_s - sum(gaps_s)) / PERIOD_S)


@pytest.mark.parametrize("ahead_s", [-30.0, -1.0, 1.0, 30.0])
async def test_a_camera_moves_to_a_machine_whose_clock_differs(
    running: Running, checkpoints: UnreliableStore, ahead_s: float
) -> None:
    async with running() as one, running(wall=clock_ahead(ahead_s)) as other:
        before, after = await moved(one, other, checkpoints)

    newest_s = [camera.memory.newest_s for camera in (before, *after)]
    seen = [camera.memory.frames_seen for camera in (before, *after)]
    assert newest_s == sorted(newest_s)  # type: ignore[type-var]
    assert seen == sorted(seen)
    assert len(set(newest_s)) >= len(set(seen[1:]))  # no frame without a time of its own
    assert after[-1].memory.frames_dropped == 0
    reasons = [gap.reason for gap in after[-1].memory.gaps]
    if ahead_s < -2:
        assert "the clock was set back: the times of its frames stand at" in after[-1].detail
        assert newest_s[-1] < newest_s[1] + PERIOD_S * FRAMES_AFTER / 10  # type: ignore[operator]
        assert reasons == []
    else:
        assert "clock" not in after[-1].detail
        assert reasons == ([GapReason.RESTORED] if ahead_s > 2 else [])
        assert frames_in(after[-1], newest_s[0], seen[0]) == seen[-1]  # type: ignore[arg-type]
