"""A camera moves to a machine whose clock differs: by real streams, the real mover and two shards."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from actors.fleet.fleet import Fleet
from actors.fleet.registry import InMemoryRegistry
from actors.fleet.scaler import FleetSize
from actors.ownership.failure_detector import FailureDetector
from actors.shard.camera_shard import CameraShard
from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, CameraStatus, PlaybackSpeed
from pipeline.sources.clips import Clip
from tests.actors.scripted import RecordingEraser
from tests.actors.shard.shards import Running, UnreliableStore, assignment, has_frames, status
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


class FramesRead:
    """The frames of one shard's cameras that come into a memory, each with the time at which its feed gave it."""

    def __init__(self, shard: CameraShard) -> None:
        self.times_s: list[float] = []
        self._given: list[Clip] = []
        clips = shard._engine.clips
        self._put, self._claim = clips.put, clips.claim
        clips.put, clips.claim = self.put, self.claim  # type: ignore[method-assign]

    def put(self, clip: Clip) -> int:
        self._given.append(clip)
        return self._put(clip)

    def claim(self, clip: Clip) -> bool:
        is_read = self._claim(clip)
        if is_read:
            given = next(one for one in self._given if np.shares_memory(one.frames, clip.frames))
            first = (clip.frames.ctypes.data - given.frames.ctypes.data) // given.frames[0].nbytes
            self.times_s += given.times_s[first : first + len(clip.times_s)]
        return is_read


@pytest.mark.parametrize("ahead_s", [-30.0, -1.0, 1.0, 30.0])
async def test_a_camera_moves_to_a_machine_whose_clock_differs(
    running: Running, checkpoints: UnreliableStore, ahead_s: float
) -> None:
    """No frame is lost, and none is read twice."""
    async with running() as one, running(wall=clock_ahead(ahead_s)) as other:
        read, read_next = FramesRead(one), FramesRead(other)
        before, after = await moved(one, other, checkpoints)

    times_s = [*read.times_s, *(time_s - ahead_s for time_s in read_next.times_s)]
    # The frames of the two streams come between each other where the next machine has no time yet for their first one.
    assert all(PERIOD_S / 3 < later - earlier < 5 / 3 * PERIOD_S for earlier, later in pairwise(times_s))
    newest_s = [camera.memory.newest_s for camera in (before, *after)]
    assert newest_s == sorted(newest_s)  # type: ignore[type-var]
    assert after[-1].memory.frames_dropped == 0
    reasons = [gap.reason for gap in after[-1].memory.gaps]
    assert reasons == ([GapReason.RESTORED] if ahead_s > 0 else [])
    stands = "the clock was set back: the times of its frames stand at"
    assert (stands in after[-1].detail) is (ahead_s < -2)


@pytest.mark.parametrize("ahead_s", [-30.0, -1.0, 0.0, 1.0, 30.0])
async def test_what_a_shard_has_not_saved_before_it_died_is_a_gap_whatever_the_clock_of_the_next_one(
    running: Running, checkpoints: UnreliableStore, ahead_s: float
) -> None:
    street = dataclasses.replace(assignment("street", "sim:street", PlaybackSpeed.LIVE), started_s=time.time())
    async with running(every_s=0.1) as one:
        await one.add_camera(street)

        async def is_saved() -> bool:
            saved = await checkpoints.load("street", *one._device.fingerprints)
            return saved is not None and saved.facts.newest_s > 0

        await until(is_saved)
        checkpoints.is_down = True
    checkpoints.is_down = False
    async with running(wall=clock_ahead(ahead_s)) as other:
        await other.add_camera(street)
        seen = (await found(other)).memory.frames_seen
        await until(partial(has_frames, other, "street", seen + FRAMES_AFTER))
        after = await found(other)

    assert [gap.reason for gap in after.memory.gaps] == [GapReason.RESTORED]
