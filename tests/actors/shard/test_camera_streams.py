"""The stream of a camera whose spec changes goes on behind the frames that are on their way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from actors.shard.camera_streams import CameraStreams
from actors.shard.interface import Assignment
from pipeline.cameras import CameraSpec, CameraState
from pipeline.sources.clip_builder import square
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig
from tests.actors.shard.shards import FRAMES_SAMPLED, STARTED_S, assignment
from tests.actors.waiting import until
from tests.pipeline import servers
from tests.pipeline.playing import QUICK
from tests.pipeline.servers import Reply

MASKS = (((0.0, 0.0), (1.0, 0.0), (1.0, 0.5)),)
MAX_CLIPS = 4


def with_rate(camera: Assignment, fps: float) -> Assignment:
    return dataclasses.replace(camera, spec=dataclasses.replace(camera.spec, frames_per_second=fps))


def with_masks(camera: Assignment) -> Assignment:
    return dataclasses.replace(camera, spec=dataclasses.replace(camera.spec, masks=MASKS))


class Device:
    """Reads clips when the test says so, and knows the time of the newest frame in its memory."""

    def __init__(self) -> None:
        self.clips = ClipQueue(MAX_CLIPS)
        self.times_s: list[float] = []

    @property
    def newest_s(self) -> float | None:
        return self.times_s[-1] if self.times_s else None

    def read(self) -> bool:
        """Whether a clip waited."""
        if (clip := self.clips.take()) is None:
            return False
        assert self.clips.claim(clip)
        self.times_s += clip.times_s
        return True

    def is_full(self) -> bool:
        return not self.clips.wait_for_space("film", 0)


@asynccontextmanager
async def streaming(device: Device, camera: Assignment) -> AsyncIterator[CameraStreams]:
    streams = CameraStreams(device.clips, QUICK, partial(CameraFeed, fit=square(64)))
    streams.open(camera, None)
    try:
        yield streams
    finally:
        await streams.stop_all()


async def read_until_over(device: Device, streams: CameraStreams) -> None:
    """Reads what comes, or a hundred frames of what never ends."""

    def is_over() -> bool:
        has_ended = streams.owned["film"].state is CameraState.ENDED
        return (not device.read() and has_ended) or len(device.times_s) > 100

    await until(is_over)


def require_rising(times_s: list[float]) -> None:
    assert all(later > earlier for earlier, later in itertools.pairwise(times_s)), times_s


def reply_with(path: Path) -> Reply:
    film = path.read_bytes()
    headers = (("Content-Type", "video/x-matroska"), ("Content-Length", str(len(film))))
    return Reply(headers=headers, pieces=(film,))


@pytest.mark.parametrize(
    ("url", "state", "is_over"),
    [
        ("/videos/a.mp4", CameraState.ENDED, True),
        ("/videos/a.mp4", CameraState.FAILED, True),
        ("/videos/a.mp4", CameraState.LIVE, False),
        ("http://127.0.0.1/a.mp4", CameraState.ENDED, True),
        ("rtsp://127.0.0.1/1", CameraState.FAILED, False),  # it is tried again
        ("rtsp://127.0.0.1/1", CameraState.BACKING_OFF, False),
    ],
)
async def test_only_what_gives_no_frame_by_itself_any_more_is_not_playing(
    url: str, state: CameraState, is_over: bool
) -> None:
    """Admission counts no device time for it."""
    streams = CameraStreams(ClipQueue(MAX_CLIPS), QUICK, SilentFeed)
    camera = assignment("gate", url)
    streams.open(camera, None)
    streams.owned["gate"].report(state, "", None, None, STARTED_S)

    assert streams.specs() == {"gate": camera.spec}
    assert streams.playing() == ({} if is_over else {"gate": camera.spec})


class SilentFeed:
    """A feed that opens nothing."""

    def __init__(self, spec: CameraSpec, config: IngestConfig, **_: object) -> None:
        """Has nothing to keep."""

    def start(self) -> None:
        """Starts no thread."""

    def stop(self, timeout_s: float = 0.0) -> None:
        """There is none."""

    def request_stop(self) -> None:
        """There is none."""

    def limit_rate(self, share: float) -> None:
        """It has none."""


@pytest.mark.parametrize("kind", ["file", "looped file", "file over HTTP", "scene"])
async def test_no_frame_is_given_twice_however_often_the_rate_changes(kind: str, film: str) -> None:
    """All of these give frames from the past again, as fast as they are taken."""
    device = Device()
    with servers.scripted_server({"/film": reply_with(Path(film))}) as server:
        urls = {"file over HTTP": f"{server.url}/film", "scene": "sim:street?width=64&height=36"}
        camera = assignment("film", urls.get(kind, film))
        camera = dataclasses.replace(camera, spec=dataclasses.replace(camera.spec, loop=kind == "looped file"))
        async with streaming(device, camera) as streams:
            for fps in (1.0, 2.0, 0.5, 2.0):
                await until(device.is_full)
                device.read()
                streams.update(with_rate(camera, fps), device.newest_s)
            await read_until_over(device, streams)

    require_rising(device.times_s)
    assert device.clips.dropped_frames("film") == 0


async def test_a_recording_whose_masks_change_gives_the_frames_that_waited_again(film: str) -> None:
    device = Device()
    camera = assignment("film", film)
    async with streaming(device, camera) as streams:
        await until(device.is_full)
        device.read()
        masked = device.clips.take()
        assert masked is not None
        streams.update(with_masks(camera), device.newest_s)
        assert not device.clips.claim(masked)
        await read_until_over(device, streams)

    require_rising(device.times_s)
    assert len(device.times_s) == FRAMES_SAMPLED
    assert device.clips.dropped_frames("film") == 0


async def test_frames_that_a_device_has_begun_to_append_are_not_given_again(film: str) -> None:
    """Its memory does not have them yet when the stream is opened anew."""
    device = Device()
    camera = assignment("film", film)
    async with streaming(device, camera) as streams:
        await until(device.is_full)
        device.read()
        streams.update(with_masks(camera), None)
        await read_until_over(device, streams)

    require_rising(device.times_s)
    assert len(device.times_s) == FRAMES_SAMPLED


async def test_frames_of_a_camera_that_gives_none_again_are_lost_once_when_its_masks_change() -> None:
    device = Device()
    camera = assignment("film", "sim:street?width=64&height=36")
    async with streaming(device, camera) as streams:
        await until(device.is_full)
        before = device.clips.newest_s("film")
        streams.update(with_masks(camera), None)
        await until(device.read)

    assert before is not None
    assert device.times_s[0] > before
    assert device.clips.dropped_frames("film") == MAX_CLIPS * QUICK.frames_per_clip


async def test_a_stream_goes_on_behind_a_memory_that_has_more_than_was_on_its_way(film: str) -> None:
    """It was restored, or read by another shard while this one stood by."""
    device = Device()
    camera = assignment("film", film)
    async with streaming(device, camera) as streams:
        await until(device.is_full)
        while device.read():
            pass
        before, newest_s = len(device.times_s), STARTED_S - 5.5
        streams.update(with_rate(camera, 1.0), newest_s)
        await read_until_over(device, streams)

    assert [time_s - STARTED_S for time_s in device.times_s[before:]] == [-5, -4, -3, -2, -1]
