"""A feed that is caught in a library is told from one that works, waits or has ended."""

from __future__ import annotations

import hashlib
import itertools
import socket
import threading
from dataclasses import replace
from pathlib import Path

from pipeline.sources.frame_clock import SteadyClock
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.crash_report import CrashReport
from pipeline.workers.heartbeat import STUCK_S, Heartbeat, longest_call_s
from pipeline.workers.worker import Worker
from tests.pipeline import footage
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK, VirtualClock, play


def in_library() -> None:
    """About a millisecond of a library's own work, without Python's lock."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2_000)


class Feed:
    """A thread that works in a library, and reads its clock before each call or only once."""

    def __init__(self, clock: Heartbeat, *, reads_once: bool) -> None:
        self._clock, self._reads_once = clock, reads_once
        self.calls = threading.Semaphore(0)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._clock()
        while not self._is_over.is_set():
            if not self._reads_once:
                self._clock()
            in_library()
            self.calls.release()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()


def test_a_feed_that_runs_on_without_reading_its_clock_is_stuck() -> None:
    clock = Heartbeat(SteadyClock(), stuck_s=0.05)
    feed = Feed(clock, reads_once=True)
    feed.calls.acquire()

    assert not clock.is_stuck()
    for _ in range(10_000):
        feed.calls.acquire()
        if is_stuck := clock.is_stuck():
            break

    assert is_stuck
    feed.end()


def test_a_feed_that_reads_its_clock_is_not_stuck_however_long_it_runs() -> None:
    clock = Heartbeat(SteadyClock(), stuck_s=0.05)
    feed = Feed(clock, reads_once=False)

    for _ in range(300):
        feed.calls.acquire()
        assert not clock.is_stuck()

    feed.end()


def test_a_long_group_of_pictures_is_no_endless_call_because_each_picture_is_one(tmp_path: Path) -> None:
    """All of them are decoded for one sampled frame each second and a half."""
    path = footage.write(tmp_path / "video", replace(H264, frames=60, fps=20, gop=60))
    readings = itertools.count()

    class Clock(VirtualClock):
        def __call__(self) -> float:
            next(readings)
            return super().__call__()

    before = next(readings)
    output = play(str(path), config=replace(QUICK, sample_fps=1), clock=Clock())

    assert len(output.samples) == 3
    assert next(readings) - before > 2.5 * 60  # two for each picture that is read


def test_a_camera_that_is_closed_while_a_worker_looks_at_its_feeds_does_not_end_the_worker() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(ours, CrashReport(ours.fileno()))

        class Closing(Heartbeat):
            def is_stuck(self) -> bool:
                worker._heartbeats.pop(1, None)
                return False

        worker._heartbeats.update({0: Closing(SteadyClock()), 1: Heartbeat(SteadyClock())})
        worker._end_if_stuck()

    assert list(worker._heartbeats) == [0]


def test_larger_frames_may_take_longer() -> None:
    assert longest_call_s(IngestConfig()) == STUCK_S
    assert longest_call_s(IngestConfig(max_width=8192, max_height=8192)) == 4 * STUCK_S
    assert longest_call_s(IngestConfig(max_width=640, max_height=360)) == STUCK_S


def test_a_feed_that_waits_is_not_stuck() -> None:
    clock, is_over, has_begun = Heartbeat(SteadyClock(), stuck_s=0.0), threading.Event(), threading.Event()

    def wait() -> None:
        clock()
        has_begun.set()
        is_over.wait()

    thread = threading.Thread(target=wait)
    assert not clock.is_stuck()
    thread.start()
    has_begun.wait()
    clock.is_stuck()

    assert not clock.is_stuck()
    is_over.set()
    thread.join()
