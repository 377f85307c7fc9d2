"""A camera's feed through good and bad days: its states, its clips, its end; and no secret in anything it says."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
import torch

from pipeline.cameras import CameraSpec, CameraState, InvalidCamera, PlaybackSpeed, SourceReason
from pipeline.decoding.images import resize_frames
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, MJPEG, VP9, Footage
from tests.pipeline.playing import QUICK, START_S, play, watching
from tests.pipeline.servers import TEST_PICTURE, Reply
from tests.pipeline.sources.test_opening import jpeg, needs_rtsp

CANARY = "c4n4ry"
ENDED, FAILED = CameraState.ENDED, CameraState.FAILED
over_both = pytest.mark.parametrize("transport", ["any", "UDP"])


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.mark.parametrize("made", [H264, VP9, MJPEG], ids=["h264", "vp9", "mjpeg"])
def test_a_file_becomes_full_clips_and_ends(made: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(made, frames=50))

    with watching(str(path), PlaybackSpeed.FAST, started_s=START_S) as watched:
        clips = watched.take_until_over()

    assert watched.states == [(CameraState.CONNECTING, ""), (CameraState.LIVE, ""), (ENDED, "")]
    assert [len(clip.times_s) for clip in clips] == [4, 4, 2]
    assert [time_s - START_S for clip in clips for time_s in clip.times_s] == [place / 2 for place in range(10)]
    assert [footage.number_of(frame) for clip in clips for frame in clip.frames] == list(range(0, 50, 5))
    for clip in clips:
        assert clip.camera == "lobby"
        assert clip.frames.dtype == torch.uint8
        assert clip.frames.shape == (len(clip.times_s), 64, 64, 3)
        assert [preview.shape for preview in clip.previews] == [(112, 192, 3)] * len(clip.times_s)
        assert clip.received_s == pytest.approx(time.time(), abs=60)


def test_every_source_reduces_pictures_alike(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", VP9)

    with watching(str(path), PlaybackSpeed.FAST, started_s=START_S) as watched:
        clip = watched.take_until_over()[0]

    samples = play(str(path)).samples[:4]
    assert torch.equal(
        clip.frames, torch.cat([resize_frames(sample.image.to_rgb()[None], 64, 64) for sample in samples])
    )


def test_a_fast_file_waits_for_the_device_and_loses_nothing(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(MJPEG, frames=200))

    with watching(str(path), PlaybackSpeed.FAST) as watched:
        watched.wait_for(CameraState.LIVE)
        time.sleep(0.5)
        clips = watched.take_until_over()

    assert sum(len(clip.times_s) for clip in clips) == 40
    assert watched.clips.dropped_frames("lobby") == 0


def test_live_clips_are_handed_over_before_they_are_old(tmp_path: Path) -> None:
    """With groups of one second each clip holds one group's samples and goes at once."""
    path = footage.write(tmp_path / "video", replace(H264, frames=40))

    with watching(str(path), PlaybackSpeed.LIVE) as watched:
        clips = watched.take_until_over()

    assert [len(clip.times_s) for clip in clips] == [2, 2, 2, 2]
    for clip in clips:
        assert clip.received_s - clip.times_s[0] < 3


def test_a_simulated_camera_hands_over_what_has_waited() -> None:
    config = IngestConfig(sample_fps=10, max_clip_wait_s=0.2, frames_per_clip=64)

    with watching("sim:street?width=32&height=18", config=config) as watched:
        clips = [watched.take() for _ in range(4)]

    assert all(1 <= len(clip.times_s) <= 4 for clip in clips)
    times_s = [time_s for clip in clips for time_s in clip.times_s]
    assert all(earlier < later for earlier, later in pairwise(times_s))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.mp4", "No such file"), ("noise.mp4", "no video, or damaged video"), ("sound.mp4", "no video")],
)
def test_what_cannot_be_read_fails_with_its_reason(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    footage.write_audio(tmp_path / "sound.mp4")

    with watching(str(tmp_path / name)) as watched:
        detail = watched.wait_for(FAILED)

    assert reason in detail
    assert name in detail
    assert watched.reasons[-1] is not None


def test_a_malformed_url_is_refused_at_once() -> None:
    with pytest.raises(InvalidCamera, match="gopher"):
        CameraFeed(CameraSpec(name="lobby", url="gopher://old"), QUICK, 64, ClipQueue(4), on_state=lambda *_: None)


def test_a_fast_file_resumes_after_what_was_fed(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))

    with watching(str(path), PlaybackSpeed.FAST, started_s=START_S, resume_from_s=START_S + 2) as watched:
        clips = watched.take_until_over()

    assert [footage.number_of(frame) for clip in clips for frame in clip.frames] == [25, 30, 35, 40, 45]


def test_a_camera_comes_back_when_its_server_does() -> None:
    jpegs = tuple(jpeg(number) for number in range(4))
    with servers.pushed_jpegs(jpegs, 0.05) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        watched_context = watching(url)
        watched = watched_context.__enter__()
        before = watched.take()
    watched.wait_for(CameraState.STALLED)
    watched.states.clear()
    with servers.pushed_jpegs(jpegs, 0.05, port=port):
        watched.wait_for(CameraState.LIVE, timeout_s=30)
        after = watched.take()
        watched_context.__exit__(None, None, None)

    assert after.times_s[0] > before.times_s[-1]


@pytest.mark.rtsp
@needs_rtsp
@over_both
def test_an_rtsp_camera_comes_back_after_its_server_was_killed(transport: str) -> None:
    with (
        servers.rtsp_camera(TEST_PICTURE, transport=transport) as (port, process),
        watching(f"rtsp://127.0.0.1:{port}/live") as watched,
    ):
        before = watched.take()
        process.kill()
        watched.wait_for(CameraState.STALLED)
        watched.states.clear()
        with servers.rtsp_camera(TEST_PICTURE, port=port, transport=transport):
            watched.wait_for(CameraState.LIVE, timeout_s=30)
            while (after := watched.take()).times_s[0] <= before.times_s[-1] + 1:
                pass

    assert after.times_s[0] > before.times_s[-1]


@pytest.mark.rtsp
@needs_rtsp
@over_both
def test_a_frozen_rtsp_server_is_noticed_and_stop_does_not_wait_for_it(transport: str) -> None:
    config = replace(QUICK, stall_after_s=3.0)
    with servers.rtsp_camera(TEST_PICTURE, transport=transport) as (port, process):
        with watching(f"rtsp://127.0.0.1:{port}/live", config=config) as watched:
            watched.take()
            process.send_signal(signal.SIGSTOP)
            assert "3 s" in watched.wait_for(CameraState.STALLED)
            began_s = time.monotonic()
        stopping_s = time.monotonic() - began_s
        process.send_signal(signal.SIGCONT)

    assert stopping_s < 4


@pytest.mark.rtsp
@needs_rtsp
def test_credentials_open_the_camera_and_show_nowhere(logged: list[structlog.typing.EventDict]) -> None:
    password = f"p@ss/{CANARY}"
    with servers.rtsp_camera(TEST_PICTURE, "viewer", password) as (port, _):
        address = f"127.0.0.1:{port}/live?token={CANARY}"
        with watching(f"rtsp://viewer:p%40ss%2F{CANARY}@{address}") as watched:
            watched.take()
            states = list(watched.states)
        with watching(f"rtsp://viewer:{CANARY}wrong@{address}") as refused:
            deadline_s = time.monotonic() + 10
            while len(refused.states) < 2 and time.monotonic() < deadline_s:
                time.sleep(0.02)

    assert refused.states[-1][0] is CameraState.BACKING_OFF
    assert "401" in refused.states[-1][1]
    assert CANARY not in repr([states, refused.states, logged])


def test_a_camera_that_refuses_is_asked_again_slowly_and_comes_when_it_lets_in() -> None:
    """Who knocks too often is locked out; who gives up for good never sees that the password was put right."""
    is_right = threading.Event()
    reply = Reply(
        headers=(("Content-Type", "multipart/x-mixed-replace; boundary=frame"),),
        pieces=tuple(servers.pushed(jpeg(number)) for number in range(60)),
        pause_s=0.1,
        challenge="Basic realm=camera",
        proof=lambda header: is_right.is_set() and header.startswith("Basic "),
    )
    with servers.scripted({"/live": reply}) as camera:
        url = f"http://viewer:{CANARY}@{camera.url.removeprefix('http://')}/live"
        with watching(url, config=replace(QUICK, refused_retry_s=2.0)) as watched:
            time.sleep(1.5)
            asked = len(camera.asked)
            is_right.set()
            watched.wait_for(CameraState.LIVE)

    assert asked == 2  # once without and once with the password
    assert watched.reasons[1] is SourceReason.UNAUTHORIZED
    assert watched.reasons[-1] is None
    assert CANARY not in repr(watched.states)


def test_an_address_where_cameras_are_refused_has_failed_and_is_tried_again() -> None:
    """The name may lead elsewhere tomorrow."""
    config = replace(QUICK, allowed_networks=(), refused_retry_s=1.0)
    with watching("http://127.0.0.1:1/live", config=config) as watched:
        watched.wait_for(FAILED)
        deadline_s = time.monotonic() + 10
        while len(watched.states) < 3 and time.monotonic() < deadline_s:
            time.sleep(0.02)

    assert watched.reasons == [None, SourceReason.ADDRESS_REFUSED, SourceReason.ADDRESS_REFUSED]
    assert "ingest.allowed_networks can allow it" in watched.states[1][1]
    assert [detail.partition("; ")[2].partition(" in ")[0] for _, detail in watched.states[1:]] == ["try 2", "try 3"]


def test_a_network_camera_that_has_no_video_yet_has_failed_and_is_watched_once_it_does(tmp_path: Path) -> None:
    sound = Reply(pieces=(footage.write_audio(tmp_path / "sound.ts").read_bytes(),))
    video = Reply(
        headers=(("Content-Type", "multipart/x-mixed-replace; boundary=frame"),),
        pieces=tuple(servers.pushed(jpeg(number)) for number in range(60)),
        pause_s=0.1,
    )
    replies = {"/live": sound}
    with (
        servers.scripted(replies) as camera,
        watching(f"{camera.url}/live", config=replace(QUICK, refused_retry_s=2.0)) as watched,
    ):
        detail = watched.wait_for(FAILED)
        time.sleep(1.0)
        asked = len(camera.asked)
        replies["/live"] = video
        watched.wait_for(CameraState.LIVE)
        clip = watched.take()

    assert asked == 1
    assert watched.reasons[1] is SourceReason.AUDIO_ONLY
    assert "; try 2 in 2" in detail
    assert len(clip.times_s) > 0


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_no_failure_tells_a_secret(scheme: str, logged: list[structlog.typing.EventDict]) -> None:
    url = f"{scheme}://admin:{CANARY}%21@127.0.0.1:1/{CANARY}=x&password={CANARY}?key={CANARY}"

    with watching(url) as watched:
        deadline_s = time.monotonic() + 10
        while len(watched.states) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)

    state, detail = watched.states[-1]
    assert state is CameraState.BACKING_OFF
    assert f"{scheme}://127.0.0.1:1/" in detail
    assert f"={CANARY}" not in repr([watched.states, logged])
    assert f"{CANARY}!" not in repr([watched.states, logged])


def test_stop_is_quick_and_final_while_a_server_is_silent() -> None:
    with servers.silent_server() as port:
        with watching(f"rtsp://127.0.0.1:{port}/live", config=replace(QUICK, open_timeout_s=5)) as watched:
            watched.wait_for(CameraState.CONNECTING)
            time.sleep(0.2)
            began_s = time.monotonic()
        stopping_s = time.monotonic() - began_s
        states = list(watched.states)

    assert stopping_s < 3
    assert states == [(CameraState.CONNECTING, "")]


def test_one_cameras_fault_is_nobody_elses(logged: list[structlog.typing.EventDict]) -> None:
    """Even a fault of our own: a clip hand-over that explodes fails that camera only."""

    class Explosive(ClipQueue):
        def put(self, clip: object) -> None:
            raise RuntimeError("boom in the hand-over")

    states: list[tuple[CameraState, str]] = []
    feed = CameraFeed(
        CameraSpec(name="lobby", url="sim:a?width=32&height=18", pace=PlaybackSpeed.FAST),
        QUICK,
        64,
        Explosive(4),
        on_state=lambda state, detail, reason: states.append((state, detail)),
    )
    feed.start()
    deadline_s = time.monotonic() + 10
    while (not states or states[-1][0] is not FAILED) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    feed.stop()

    assert states[-1] == (FAILED, "internal error: RuntimeError")
    assert "in put" in next(event["trace"] for event in logged if event["event"] == "feed_failed")


def test_times_never_run_back_over_a_resumed_start() -> None:
    known_s = time.time() + 0.7

    with watching("sim:street?width=32&height=18", resume_from_s=known_s) as watched:
        clip = watched.take()

    assert clip.times_s[0] > known_s
    assert math.isfinite(clip.received_s)
