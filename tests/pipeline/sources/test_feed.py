"""A camera's feed: its states, its clips, its retries, its end; and no secret in any of its output."""

from __future__ import annotations

import errno
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import structlog
import torch

from pipeline.cameras import CameraSpec, CameraState, InvalidCamera, PlaybackSpeed, SourceReason
from pipeline.decoding.tensor_images import TensorImage
from pipeline.sources.clip_builder import square
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.playback import RECONNECTED
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, MJPEG, VP9, Footage, jpeg
from tests.pipeline.playing import QUICK, START_S, play, running_feed
from tests.pipeline.servers import TEST_PICTURE, Reply, needs_rtsp
from tests.servers import free_port

CANARY = "c4n4ry"
ENDED, FAILED = CameraState.ENDED, CameraState.FAILED
# Full clips twice a second, retries at once.
FAST = replace(QUICK, sample_fps=8, max_clip_wait_s=0.3, max_segment_s=0.25, first_retry_s=0.1, last_retry_s=0.2)
MJPEG_TYPE = (("Content-Type", "multipart/x-mixed-replace; boundary=frame"),)
over_tcp_and_udp = pytest.mark.parametrize("transport", ["any", "UDP"])


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as events:
        yield events


def mjpeg_reply(**options: object) -> Reply:
    images = tuple(servers.multipart_jpeg(jpeg(number)) for number in range(60))
    return Reply(headers=MJPEG_TYPE, pieces=images, pause_s=0.1, **options)


@pytest.mark.parametrize("video", [H264, VP9, MJPEG], ids=["h264", "vp9", "mjpeg"])
def test_a_file_becomes_full_clips_and_ends(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(video, frames=50))

    with running_feed(str(path), PlaybackSpeed.FAST, started_s=START_S) as feed:
        clips = feed.take_until_over()

    assert feed.states == [(CameraState.CONNECTING, ""), (CameraState.LIVE, ""), (ENDED, "")]
    assert [len(clip.times_s) for clip in clips] == [4, 4, 2]
    assert [time_s - START_S for clip in clips for time_s in clip.times_s] == [index / 2 for index in range(10)]
    assert [footage.number_of(frame) for clip in clips for frame in clip.frames] == list(range(0, 50, 5))
    for clip in clips:
        assert clip.camera == "lobby"
        assert clip.frames.dtype == np.uint8
        assert clip.frames.shape == (len(clip.times_s), 64, 64, 3)
        assert [preview.shape for preview in clip.previews] == [(112, 192, 3)] * len(clip.times_s)
        assert clip.received_s == pytest.approx(time.time(), abs=60)


def test_a_camera_has_a_rate_of_its_own(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))

    with running_feed(str(path), PlaybackSpeed.FAST, frames_per_second=5.0, started_s=START_S) as feed:
        clips = feed.take_until_over()

    assert [time_s - START_S for clip in clips for time_s in clip.times_s] == pytest.approx(
        [index / 5 for index in range(25)]
    )


@pytest.mark.parametrize(
    "reply",
    [Reply(status=401), Reply(headers=MJPEG_TYPE, pieces=(servers.multipart_jpeg(jpeg(0)),))],
    ids=["password", "lost"],
)
def test_a_refused_password_and_a_lost_camera_are_warnings(
    reply: Reply, logged: list[structlog.typing.EventDict]
) -> None:
    troubles = {"stalled", "backing_off", "failed"}
    with servers.scripted_server({"/": reply}) as server, running_feed(f"{server.url}/", config=FAST) as feed:
        feed.wait_until(lambda: any(event.get("state") in troubles for event in logged))

    levels = {event["state"]: event["log_level"] for event in logged if event["event"] == "camera_state"}
    assert {level for state, level in levels.items() if state in troubles} == {"warning"}
    assert levels["connecting"] == "info"


def test_a_feed_resizes_frames_as_resize_frames_does(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", VP9)

    with running_feed(str(path), PlaybackSpeed.FAST, started_s=START_S) as feed:
        clip = feed.take_until_over()[0]

    samples = play(str(path)).samples[:4]
    resized = np.stack([TensorImage(torch.from_numpy(sample.image.to_rgb())).resize(64, 64) for sample in samples])
    assert np.array_equal(clip.frames, resized)


def test_a_file_played_fast_waits_for_the_device_and_loses_no_frame(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(MJPEG, frames=200))
    has_waited = threading.Event()

    class FullQueue(ClipQueue):
        """Tells when the feed waits for space in vain."""

        def wait_for_space(self, camera: str, timeout_s: float) -> bool:
            has_space = super().wait_for_space(camera, 0.01)
            if not has_space:
                has_waited.set()
            return has_space

    clips = FullQueue(4)
    with running_feed(str(path), PlaybackSpeed.FAST, clips=clips) as feed:
        assert has_waited.wait(30)
        taken = []
        while sum(len(clip.times_s) for clip in taken) < 40:
            if (clip := clips.take()) is not None:
                taken.append(clip)
        feed.wait_for(ENDED)

    assert clips.take() is None
    assert clips.dropped_frames("lobby") == 0


def test_live_clips_are_handed_over_before_they_are_full(tmp_path: Path) -> None:
    """With groups of a quarter of a second, each clip holds the samples of one group; a busy machine may join two."""
    path = footage.write(tmp_path / "video", replace(H264, fps=40, frames=40))

    with running_feed(str(path), PlaybackSpeed.LIVE, replace(FAST, max_clip_wait_s=0.25)) as feed:
        clips = feed.take_until_over()

    assert len(clips[0].times_s) == 2
    assert [len(clip.times_s) for clip in clips if len(clip.times_s) not in (2, 4)] == []
    assert sum(len(clip.times_s) for clip in clips) == 8
    for clip in clips:
        assert clip.received_s - clip.times_s[0] < 2


def test_a_simulated_camera_hands_over_clips_that_have_waited() -> None:
    config = IngestConfig(sample_fps=10, max_clip_wait_s=0.2, frames_per_clip=64)

    with running_feed("sim:street?width=32&height=18", config=config) as feed:
        clips = [feed.take() for _ in range(4)]

    assert all(1 <= len(clip.times_s) <= 4 for clip in clips)
    times_s = [time_s for clip in clips for time_s in clip.times_s]
    assert all(earlier < later for earlier, later in pairwise(times_s))


@pytest.mark.parametrize(
    ("name", "message", "reason"),
    [
        ("none.mp4", "No such file", SourceReason.NO_FILE),
        ("noise.mp4", "no video, or damaged video", SourceReason.NOT_VIDEO),
        ("sound.mp4", "no video", SourceReason.AUDIO_ONLY),
    ],
)
def test_an_unreadable_file_fails_with_its_reason(
    name: str, message: str, reason: SourceReason, tmp_path: Path
) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    footage.write_audio(tmp_path / "sound.mp4")

    with running_feed(str(tmp_path / name)) as feed:
        detail = feed.wait_for(FAILED)

    assert message in detail
    assert name in detail
    assert feed.reasons[-1] is reason


def test_an_invalid_url_is_refused_at_once() -> None:
    with pytest.raises(InvalidCamera, match="gopher"):
        CameraFeed(
            CameraSpec(name="lobby", url="gopher://old"), QUICK, square(64), ClipQueue(4), on_state=lambda *_: None
        )


def test_a_file_played_fast_resumes_after_the_frames_that_were_fed(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))

    with running_feed(str(path), PlaybackSpeed.FAST, started_s=START_S, resume_from_s=START_S + 2) as feed:
        clips = feed.take_until_over()

    assert [footage.number_of(frame) for clip in clips for frame in clip.frames] == [25, 30, 35, 40, 45]


def test_a_camera_comes_back_when_its_server_does() -> None:
    images = tuple(jpeg(number) for number in range(4))
    port = free_port()
    with servers.mjpeg_server(images, 0.05, port=port) as url:
        feed_context = running_feed(url, config=FAST, retry_jitter_s=0)
        feed = feed_context.__enter__()
        before = feed.take()
    feed.wait_for(CameraState.STALLED)
    feed.states.clear()
    with servers.mjpeg_server(images, 0.05, port=port):
        feed.wait_for(CameraState.LIVE)
        after = feed.take()
        while not after.lost_before:
            after = feed.take()
        feed_context.__exit__(None, None, None)

    assert after.times_s[0] > before.times_s[-1]
    assert before.lost_before == ()
    assert [reason for reason in after.lost_before if reason] == [RECONNECTED]


@pytest.mark.rtsp
@needs_rtsp
@over_tcp_and_udp
def test_an_rtsp_camera_comes_back_after_its_server_was_killed(transport: str) -> None:
    with (
        servers.rtsp_server(TEST_PICTURE, port=free_port(), transport=transport) as (port, process),
        running_feed(f"rtsp://127.0.0.1:{port}/live", config=FAST, retry_jitter_s=0) as feed,
    ):
        feed.take()
        process.kill()
        feed.wait_for(CameraState.STALLED)
        while feed.clips.take() is not None:
            pass
        stalled_s = time.time()
        feed.states.clear()
        with servers.rtsp_server(TEST_PICTURE, port=port, transport=transport):
            feed.wait_for(CameraState.LIVE)
            after = feed.take()

    assert after.times_s[-1] > stalled_s


@pytest.mark.rtsp
@needs_rtsp
@over_tcp_and_udp
def test_a_frozen_rtsp_server_is_noticed_and_stop_does_not_wait_for_it(transport: str) -> None:
    with servers.rtsp_server(TEST_PICTURE, transport=transport) as (port, process):
        with running_feed(f"rtsp://127.0.0.1:{port}/live", config=FAST) as feed:
            feed.take()
            process.send_signal(signal.SIGSTOP)
            assert "1.5 s" in feed.wait_for(CameraState.STALLED)
            began_s = time.monotonic()
        stopping_s = time.monotonic() - began_s
        process.send_signal(signal.SIGCONT)

    assert stopping_s < 4


@pytest.mark.rtsp
@needs_rtsp
def test_credentials_open_the_camera_and_appear_nowhere(logged: list[structlog.typing.EventDict]) -> None:
    password = f"p@ss/{CANARY}"
    with servers.rtsp_server(TEST_PICTURE, "viewer", password) as (port, _):
        address = f"127.0.0.1:{port}/live?token={CANARY}"
        with running_feed(f"rtsp://viewer:p%40ss%2F{CANARY}@{address}", config=FAST) as feed:
            feed.take()
            states = list(feed.states)
        with running_feed(f"rtsp://viewer:{CANARY}wrong@{address}") as refused:
            detail = refused.wait_for(CameraState.BACKING_OFF)

    assert "401" in detail
    assert CANARY not in repr([states, refused.states, logged])


def test_a_camera_that_refuses_the_login_is_retried_slowly_until_it_accepts() -> None:
    """Frequent retries lock an account; without retries a corrected password would never be noticed."""
    is_right = threading.Event()
    reply = mjpeg_reply(
        challenge="Basic realm=camera",
        is_authorized=lambda header: is_right.is_set() and header.startswith("Basic "),
    )
    with servers.scripted_server({"/live": reply}) as camera:
        url = f"http://viewer:{CANARY}@{camera.url.removeprefix('http://')}/live"
        with running_feed(url, config=replace(QUICK, refused_retry_s=1.5)) as feed:
            feed.wait_for(CameraState.BACKING_OFF)
            is_right.set()
            feed.wait_for(CameraState.LIVE)

    _, with_password_s, retry_s, *_ = camera.times_s  # the first request has no password
    assert retry_s - with_password_s >= 1.5
    assert feed.reasons[1] is SourceReason.UNAUTHORIZED
    assert feed.reasons[-1] is None
    assert CANARY not in repr(feed.states)


def test_a_camera_in_a_refused_network_has_failed_and_is_retried() -> None:
    """Its host name may lead elsewhere later."""
    config = replace(QUICK, allowed_networks=(), refused_retry_s=1.0)
    with running_feed("http://127.0.0.1:1/live", config=config, retry_jitter_s=0) as feed:
        feed.wait_until(lambda: len(feed.states) >= 3)

    assert feed.reasons[:3] == [None, SourceReason.ADDRESS_REFUSED, SourceReason.ADDRESS_REFUSED]
    assert [state for state, _ in feed.states[1:3]] == [FAILED, FAILED]
    assert '(ingest.allowed_networks: ["127.0.0.1/32"] can allow it)' in feed.states[1][1]
    assert [detail.partition("; ")[2].partition(" at ")[0] for _, detail in feed.states[1:3]] == ["try 2", "try 3"]


def test_a_network_camera_without_video_has_failed_and_is_read_once_it_has_video(tmp_path: Path) -> None:
    replies = {"/live": Reply(pieces=(footage.write_audio(tmp_path / "sound.ts").read_bytes(),))}
    with (
        servers.scripted_server(replies) as camera,
        running_feed(f"{camera.url}/live", config=replace(FAST, refused_retry_s=1.0), retry_jitter_s=0) as feed,
    ):
        detail = feed.wait_for(FAILED)
        replies["/live"] = mjpeg_reply()
        feed.wait_for(CameraState.LIVE)
        clip = feed.take()

    assert camera.times_s[1] - camera.times_s[0] >= 1.0
    assert feed.reasons[1] is SourceReason.AUDIO_ONLY
    assert "; try 2 at 20" in detail
    assert len(clip.times_s) > 0


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_no_failure_shows_a_secret(scheme: str, logged: list[structlog.typing.EventDict]) -> None:
    url = f"{scheme}://admin:{CANARY}%21@127.0.0.1:1/{CANARY}=x&password={CANARY}?key={CANARY}"

    with running_feed(url) as feed:
        detail = feed.wait_for(CameraState.BACKING_OFF)

    assert f"{scheme}://127.0.0.1:1/" in detail
    assert f"={CANARY}" not in repr([feed.states, logged])
    assert f"{CANARY}!" not in repr([feed.states, logged])


def test_stop_is_quick_and_final_while_a_server_is_silent() -> None:
    with servers.silent_server() as port:
        with running_feed(f"rtsp://127.0.0.1:{port}/live", config=replace(QUICK, open_timeout_s=5)) as feed:
            feed.wait_for(CameraState.CONNECTING)
            time.sleep(0.2)  # until libav waits for the server, which no event shows
            began_s = time.monotonic()
        stopping_s = time.monotonic() - began_s
        states = list(feed.states)

    assert stopping_s < 3
    assert states == [(CameraState.CONNECTING, "")]


def test_no_clip_follows_stop() -> None:
    """Not even the one that stop interrupts."""
    config = IngestConfig(sample_fps=10, max_clip_wait_s=60, frames_per_clip=64)

    with running_feed("sim:street?width=32&height=18", config=config) as feed:
        feed.wait_for(CameraState.LIVE)

    assert not feed.clips.has_clips()


def test_an_internal_error_fails_its_own_camera_only(logged: list[structlog.typing.EventDict]) -> None:
    class BrokenQueue(ClipQueue):
        def put(self, clip: object) -> None:
            raise RuntimeError("boom in the queue")

    url = "sim:a?width=32&height=18"
    with (
        running_feed(url, PlaybackSpeed.FAST, clips=BrokenQueue(4)) as broken,
        running_feed(url, PlaybackSpeed.FAST) as healthy,
    ):
        detail = broken.wait_for(FAILED)
        clip = healthy.take()

    assert detail == "internal error: RuntimeError"
    assert "in put" in next(event["trace"] for event in logged if event["event"] == "feed_failed")
    assert len(clip.times_s) == 4


def test_a_camera_is_tried_again_when_its_process_had_no_descriptor_left() -> None:
    class ScarceQueue(ClipQueue):
        has_failed = False

        def put(self, clip: Clip) -> int:
            if not self.has_failed:
                self.has_failed = True
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().put(clip)

    clips = ScarceQueue(4)
    with running_feed("sim:street?width=32&height=18", config=FAST, clips=clips, retry_jitter_s=0) as feed:
        detail = feed.wait_for(CameraState.BACKING_OFF)
        feed.wait_until(lambda: feed.states[-1][0] is CameraState.LIVE)

    assert detail.startswith("its video cannot be read: Too many open files; try 2 at ")


def test_times_never_run_back_after_a_resumed_start() -> None:
    resume_from_s = time.time() + 0.3

    with running_feed("sim:street?width=32&height=18", config=FAST, resume_from_s=resume_from_s) as feed:
        clip = feed.take()

    assert clip.times_s[0] > resume_from_s
    assert math.isfinite(clip.received_s)
