"""What a pool of workers keeps open, whatever its thread does."""

from __future__ import annotations

import sys
import threading

import pytest

from pipeline.cameras import CameraSpec, CameraState
from pipeline.sources.clip_queue import ClipQueue
from pipeline.workers import pool as pool_module
from pipeline.workers.pool import WorkerPool
from tests.pipeline.playing import QUICK
from tests.pipeline.workers import pools


def test_what_wakes_the_thread_of_a_pool_stays_open_as_long_as_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file would get its number, and the thread would read from that."""
    monkeypatch.setattr(pool_module, "_CLOSE_S", 0.0)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    before = pools.descriptors()
    is_reporting, may_go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def on_state(state: CameraState, *_: object) -> None:
        if state is CameraState.BACKING_OFF and not threads:
            threads.append(threading.current_thread())
            is_reporting.set()
            assert may_go_on.wait(60)

    pool = WorkerPool(pools.FIT, 1, ())
    feed = pool.open(
        CameraSpec(name="lobby", url="sim:street"),
        QUICK,
        clips=ClipQueue(4),
        on_state=on_state,
        camera_id="lobby",
        resume_from_s=None,
        started_s=0.0,
    )
    feed.start()
    assert is_reporting.wait(60)

    pool.close()

    assert (pools.descriptors() - before).total() == 1
    may_go_on.set()
    threads[0].join(60)
    assert not pools.descriptors() - before
