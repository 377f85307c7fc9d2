"""A camera that goes away and comes back, from its server to the engine: missing time becomes a gap, to the frame."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from cache_store.gap import Gap
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.cameras import CameraState, SourceReason
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.memory_status import MemoryStatus
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import servers
from tests.pipeline.footage import jpeg
from tests.pipeline.playing import QUICK, RunningFeed, running_feed
from tests.pipeline.servers import TEST_PICTURE, Reply, needs_rtsp
from tests.servers import free_port

GAP_AFTER_S = 1.2
OUTAGE_S = 2.0


class TimesRecorder(ClipQueue):
    """Passes all clips on to an engine, and records the times of their frames."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(4)
        self.times_s: list[float] = []
        self._engine = engine

    def put(self, clip: Clip) -> None:
        self.times_s += clip.times_s
        self._engine.clips.put(clip)

    def count_dropped(self, camera: str, frames: int) -> None:
        self._engine.clips.count_dropped(camera, frames)

    @property
    def gaps(self) -> tuple[tuple[float, float], ...]:
        """Begins and ends of the gaps that follow from the times."""
        return tuple((start, end) for start, end in pairwise(self.times_s) if end - start > GAP_AFTER_S)


class Lobby:
    """One camera of an engine: its feed, the times of its frames, and its memory."""

    def __init__(self, engine: Engine, times: TimesRecorder, running: RunningFeed) -> None:
        self.times, self.running = times, running
        self._engine = engine

    @property
    def memory(self) -> MemoryStatus:
        return self._engine.status("lobby")

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = 30) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_true():
            assert time.monotonic() < deadline_s, (self.running.states, self.memory)
            time.sleep(0.02)

    def wait_for_frames(self, count: int = 4) -> None:
        """Until the memory has seen so many more."""
        before = self.memory.frames_seen
        self.wait_until(lambda: self.memory.frames_seen >= before + count)

    def gaps_over(self, time_s: float) -> list[Gap]:
        """The gaps of the memory that this time is in. A busy machine may make others."""
        return [gap for gap in self.memory.gaps if gap.start_s < time_s < gap.end_s]

    def end_with_one_gap_over(self, time_s: float) -> Gap:
        """Stops the feed and waits until all its clips are in the memory; all gaps must follow from their times."""
        self.running.feed.stop()
        self.wait_until(lambda: self.memory.newest_s == self.times.times_s[-1])

        (gap,) = self.gaps_over(time_s)
        assert tuple((gap.start_s, gap.end_s) for gap in self.memory.gaps) == self.times.gaps
        return gap


@contextmanager
def lobby(model: LlavaOnevision, url: str, config: IngestConfig = QUICK) -> Iterator[Lobby]:
    """A camera that runs until the end."""
    engine = Engine(model, MemoryConfig(tokens_per_layer=128, recent_frames=4), DeviceConfig(gap_after_s=GAP_AFTER_S))
    engine.start()
    engine.add_camera("lobby")
    times = TimesRecorder(engine)
    try:
        with running_feed(url, config=config, clips=times) as running:
            yield Lobby(engine, times, running)
    finally:
        engine.close()


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_a_killed_and_restarted_server_leaves_exactly_one_gap(model: LlavaOnevision) -> None:
    """The feed reconnects by itself, and the gap is from the last frame before to the first one after."""
    with (
        servers.rtsp_server(TEST_PICTURE, port=free_port()) as (port, process),
        lobby(model, f"rtsp://127.0.0.1:{port}/live") as camera,
    ):
        camera.wait_for_frames()
        process.kill()
        killed_s = time.time()
        camera.running.wait_for(CameraState.STALLED)
        time.sleep(max(0.0, killed_s + OUTAGE_S - time.time()))
        back_s = time.time()
        with servers.rtsp_server(TEST_PICTURE, port=port):
            camera.wait_until(lambda: bool(camera.gaps_over(back_s)))
            camera.wait_for_frames()
        gap = camera.end_with_one_gap_over(back_s)

    assert gap.start_s < killed_s < back_s < gap.end_s
    assert killed_s - gap.start_s < 3


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_a_silence_longer_than_the_stall_limit_is_one_gap_and_the_feed_reconnects(model: LlavaOnevision) -> None:
    with (
        servers.rtsp_server(TEST_PICTURE) as (port, process),
        lobby(model, f"rtsp://127.0.0.1:{port}/live") as camera,
    ):
        camera.wait_for_frames()
        process.send_signal(signal.SIGSTOP)
        stopped_s = time.time()
        camera.running.wait_for(CameraState.STALLED)
        process.send_signal(signal.SIGCONT)
        continued_s = time.time()
        camera.wait_until(lambda: bool(camera.gaps_over(continued_s)))
        camera.wait_for_frames()
        gap = camera.end_with_one_gap_over(continued_s)

    assert gap.start_s < stopped_s < continued_s < gap.end_s
    states = [state for state, _ in camera.running.states]
    assert states.count(CameraState.LIVE) == 2


@pytest.mark.slow
def test_a_silence_shorter_than_the_stall_limit_is_one_gap_on_the_same_connection(model: LlavaOnevision) -> None:
    silence, silent_s = threading.Event(), list[float]()

    def pieces() -> Iterator[bytes]:
        for number in range(1_200):
            if silence.wait(0.1):
                silence.clear()
                silent_s.append(time.time())
                time.sleep(OUTAGE_S)
                silent_s.append(time.time())
            yield servers.multipart_jpeg(jpeg(number % 4))

    reply = Reply(headers=(("Content-Type", "multipart/x-mixed-replace; boundary=frame"),), pieces=pieces())
    with (
        servers.scripted_server({"/live": reply}) as server,
        lobby(model, f"{server.url}/live", replace(QUICK, stall_after_s=10.0)) as camera,
    ):
        camera.wait_for_frames()
        silence.set()
        camera.wait_until(lambda: bool(silent_s and camera.gaps_over(silent_s[0] + OUTAGE_S / 2)))
        camera.wait_for_frames()
        gap = camera.end_with_one_gap_over(silent_s[0] + OUTAGE_S / 2)

    began_s, ended_s = silent_s
    assert gap.end_s > ended_s
    assert abs(gap.start_s - began_s) < 1
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_a_wrong_password_is_reported_and_retried_slowly_until_the_server_accepts_it(model: LlavaOnevision) -> None:
    config = replace(QUICK, refused_retry_s=3.0)
    with (
        servers.rtsp_server(TEST_PICTURE, "viewer", "another", port=free_port()) as (port, process),
        lobby(model, f"rtsp://viewer:right@127.0.0.1:{port}/live", config) as camera,
    ):
        detail = camera.running.wait_for(CameraState.BACKING_OFF)
        process.kill()
        process.wait(10)
        with servers.rtsp_server(TEST_PICTURE, "viewer", "right", port=port):
            camera.wait_for_frames()

    assert "401" in detail
    assert "; try 2 at 20" in detail
    # Where the other server takes longer to start than the pause, the next try finds none.
    assert camera.running.reasons[:2] == [None, SourceReason.UNAUTHORIZED]
    assert SourceReason.UNAUTHORIZED not in camera.running.reasons[2:]
    states = [state for state, _ in camera.running.states]
    assert states[:2] == [CameraState.CONNECTING, CameraState.BACKING_OFF]
    assert CameraState.LIVE in states
