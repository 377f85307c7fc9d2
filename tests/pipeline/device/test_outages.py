"""A camera that goes away and comes back, watched by a whole device: what is missing is declared, to the frame."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline import answers
from pipeline.cameras import CameraState, MemoryStatus, SourceReason
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import servers
from tests.pipeline.footage import jpeg
from tests.pipeline.playing import QUICK, RunningFeed, running_feed
from tests.pipeline.servers import TEST_PICTURE, Reply, needs_rtsp

GAP_AFTER_S = 1.5
OUTAGE_S = 3.0


class Passing(ClipQueue):
    """Hands everything on to a device, and remembers the times of its frames."""

    def __init__(self, device: Engine) -> None:
        super().__init__(4)
        self.times_s: list[float] = []
        self._device = device

    def put(self, clip: Clip) -> None:
        self.times_s += clip.times_s
        self._device.clips.put(clip)

    def count_dropped(self, camera: str, frames: int) -> None:
        self._device.clips.count_dropped(camera, frames)

    @property
    def gaps(self) -> tuple[answers.Gap, ...]:
        """What the times say is missing."""
        spans = pairwise(self.times_s)
        return tuple(answers.Gap(start, end, "no frames") for start, end in spans if end - start > GAP_AFTER_S)


class Lobby:
    """One camera of a device: what its feed said and handed over, and what its memory holds."""

    def __init__(self, device: Engine, passing: Passing, feed: RunningFeed) -> None:
        self.passing, self.feed = passing, feed
        self._device = device

    @property
    def memory(self) -> MemoryStatus:
        return self._device.status("lobby")

    def wait_until(self, is_so: Callable[[], bool], timeout_s: float = 30) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, (self.feed.states, self.memory)
            time.sleep(0.02)

    def wait_for_frames(self, more: int = 4) -> None:
        """Until the memory has seen so many more."""
        seen = self.memory.frames_seen
        self.wait_until(lambda: self.memory.frames_seen >= seen + more)

    def end_with_one_gap(self) -> answers.Gap:
        """Ends the camera once all of it is remembered; the memory's one gap is that of the frames that came."""
        self.feed.feed.stop()
        self.wait_until(lambda: self.memory.newest_s == self.passing.times_s[-1])

        (gap,) = self.memory.gaps
        assert (gap,) == self.passing.gaps
        return gap


@contextmanager
def lobby(model: LlavaOnevision, url: str, config: IngestConfig = QUICK) -> Iterator[Lobby]:
    """The camera, watched until the end."""
    device = Engine(model, MemoryConfig(tokens_per_layer=128, recent_frames=4), DeviceConfig(gap_after_s=GAP_AFTER_S))
    device.start()
    device.add_camera("lobby")
    passing = Passing(device)
    try:
        with running_feed(url, config=config, clips=passing) as feed:
            yield Lobby(device, passing, feed)
    finally:
        device.close()


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_a_killed_and_restarted_server_leaves_exactly_one_gap(model: LlavaOnevision) -> None:
    """Nobody does anything about it, and the gap is from the last frame before to the first one after."""
    with (
        servers.rtsp_server(TEST_PICTURE) as (port, process),
        lobby(model, f"rtsp://127.0.0.1:{port}/live") as watched,
    ):
        watched.wait_for_frames()
        process.kill()
        killed_s = time.time()
        watched.feed.wait_for(CameraState.STALLED)
        time.sleep(OUTAGE_S)
        back_s = time.time()
        with servers.rtsp_server(TEST_PICTURE, port=port):
            watched.wait_until(lambda: bool(watched.memory.gaps))
            watched.wait_for_frames()
        gap = watched.end_with_one_gap()

    assert gap.start_s < killed_s < back_s < gap.end_s
    assert killed_s - gap.start_s < 3


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_a_silence_that_is_too_long_is_one_gap_and_the_camera_is_called_again(
    model: LlavaOnevision,
) -> None:
    with (
        servers.rtsp_server(TEST_PICTURE) as (port, process),
        lobby(model, f"rtsp://127.0.0.1:{port}/live") as watched,
    ):
        watched.wait_for_frames()
        process.send_signal(signal.SIGSTOP)
        silent_s = time.time()
        time.sleep(OUTAGE_S)
        process.send_signal(signal.SIGCONT)
        heard_s = time.time()
        watched.wait_until(lambda: bool(watched.memory.gaps))
        watched.wait_for_frames()
        gap = watched.end_with_one_gap()

    assert gap.start_s < silent_s < heard_s < gap.end_s
    assert CameraState.STALLED in dict(watched.feed.states)


@pytest.mark.slow
def test_a_silence_that_is_borne_is_one_gap_on_the_same_connection(model: LlavaOnevision) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(600):
            time.sleep(OUTAGE_S if number == 30 else 0.1)
            yield servers.multipart_jpeg(jpeg(number % 4))

    reply = Reply(headers=(("Content-Type", "multipart/x-mixed-replace; boundary=frame"),), pieces=pieces())
    with (
        servers.scripted_server({"/live": reply}) as camera,
        lobby(model, f"{camera.url}/live", replace(QUICK, stall_after_s=10.0)) as watched,
    ):
        watched.wait_until(lambda: bool(watched.memory.gaps))
        watched.wait_for_frames()
        gap = watched.end_with_one_gap()

    assert OUTAGE_S - 1 < gap.end_s - gap.start_s < OUTAGE_S + 1
    assert len(camera.requests) == 1


@pytest.mark.slow
@pytest.mark.rtsp
@needs_rtsp
def test_a_wrong_password_is_told_tried_slowly_and_forgotten_once_the_server_takes_it(
    model: LlavaOnevision,
) -> None:
    config = replace(QUICK, refused_retry_s=6.0)
    with (
        servers.rtsp_server(TEST_PICTURE, "viewer", "another") as (port, process),
        lobby(model, f"rtsp://viewer:right@127.0.0.1:{port}/live", config) as watched,
    ):
        told = watched.feed.wait_for(CameraState.BACKING_OFF)
        process.kill()
        process.wait(10)
        with servers.rtsp_server(TEST_PICTURE, "viewer", "right", port=port):
            watched.wait_for_frames()

    assert "401" in told
    assert "; try 2 in 6.0 s" in told
    assert watched.feed.reasons[:3] == [None, SourceReason.UNAUTHORIZED, None]
    states = [state for state, _ in watched.feed.states]
    assert states[:3] == [CameraState.CONNECTING, CameraState.BACKING_OFF, CameraState.LIVE]
