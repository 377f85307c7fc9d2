"""Workers that are killed, crash and hang: their cameras come back, others notice nothing, and nothing leaks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import pytest

from pipeline.cameras import CameraState
from pipeline.sources.playback import RECONNECTED
from pipeline.workers.worker_cameras import WorkerLimits
from tests.pipeline.workers import pools
from tests.pipeline.workers.pools import Cameras


def _send(sent: signal.Signals, pid: int) -> None:
    os.kill(pid, sent)


# Each kill has a cause of its own here, so nobody is suspected. On a busy machine a worker may be stopped at its start.
LIMITS = WorkerLimits(hang_s=1.5, soon_s=0.0, start_s=20.0)
SIGNALS = (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP, signal.SIGTERM)
WAYS: tuple[Callable[[int], None], ...] = (*(partial(_send, sent) for sent in SIGNALS), pools.take_memory)


def kill_often(kills: int, num_workers: int) -> None:
    """Kills workers all at once, in turn in each way, each time all of their cameras have given a clip."""
    names = [f"c{number}" for number in range(num_workers)]
    with pools.workers(num_workers, limits=LIMITS) as pool:
        cameras = Cameras(pool.open)
        feeds = [cameras.open(name, f"sim:{name}?width=64&height=64") for name in names]
        for number in range(0, kills, num_workers):
            cameras.wait_for_next_clips(*names)
            for offset, pid in enumerate(pool.pids()):
                WAYS[(number + offset) % len(WAYS)](pid)
        cameras.wait_for_next_clips(*names)
        for feed in feeds:
            feed.request_stop()  # type: ignore[attr-defined]
        for feed in feeds:
            feed.stop(30)  # type: ignore[attr-defined]


def test_killed_workers_come_back_and_leave_nothing() -> None:
    with pools.leaving_nothing():
        kill_often(10, num_workers=5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_killed_workers_leave_nothing() -> None:
    with pools.leaving_nothing():
        kill_often(100, num_workers=5)


def test_the_cameras_of_other_workers_notice_nothing() -> None:
    with pools.workers(2) as pool:
        cameras = Cameras(pool.open)
        for name in ("killed", "well"):
            cameras.open(name, "sim:street")
            cameras.wait_for_next_clips(name)
        os.kill(pool.pids()[0], signal.SIGKILL)
        cameras.wait_for_next_clips("killed")
        cameras.wait_for_next_clips("killed", "well")

    # A busy machine lowers its rate, which is another detail of the same state.
    states = [state for state, *_ in cameras.states["well"]]
    assert states == [CameraState.CONNECTING] + [CameraState.LIVE] * (len(states) - 1)
    assert not any(RECONNECTED in clip.lost_before for clip in cameras.taken["well"])
    assert any(RECONNECTED in clip.lost_before for clip in cameras.taken["killed"])
