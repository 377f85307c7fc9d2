"""A feed is a feed, whether its source runs in a thread or in a worker, and wherever its video is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from models.tiny.scenes.scene import Scene
from pipeline.cameras import CameraState, InvalidCamera, PlaybackSpeed, SourceReason
from pipeline.decoding import video_writer
from pipeline.picture_note import PictureNote
from pipeline.sources.playback import RECONNECTED
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK, START_S
from tests.pipeline.servers import Reply
from tests.pipeline.workers import pools
from tests.pipeline.workers.pools import Cameras

FAST = PlaybackSpeed.FAST
ENDED, FAILED, LIVE = CameraState.ENDED, CameraState.FAILED, CameraState.LIVE
_FACTORIES = {"threads": pools.threads, "workers": pools.worker_feeds, "decoded in the shard": pools.shard_feeds}


@pytest.fixture(params=_FACTORIES)
def cameras(request: pytest.FixtureRequest) -> Iterator[Cameras]:
    factory: AbstractContextManager[object] = _FACTORIES[request.param]()
    with factory as open_feed:
        yield Cameras(open_feed)  # type: ignore[arg-type]


def test_a_file_becomes_full_clips_and_ends(cameras: Cameras, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))

    cameras.open("lobby", str(path), pace=FAST, started_s=START_S)
    cameras.wait_for_state("lobby", ENDED)
    cameras.wait_until(lambda: len(cameras.taken["lobby"]) == 3)

    clips = cameras.taken["lobby"]
    assert [state for state, _, _ in cameras.states["lobby"]] == [CameraState.CONNECTING, LIVE, ENDED]
    assert [len(clip.times_s) for clip in clips] == [4, 4, 2]
    assert [footage.number_of(frame) for clip in clips for frame in clip.frames] == list(range(0, 50, 5))
    assert {clip.camera for clip in clips} == {"lobby"}
    assert [preview.shape for clip in clips for preview in clip.previews] == [(112, 192, 3)] * 10
    assert all(np.diff([time_s for clip in clips for time_s in clip.times_s]) == 0.5)


def test_a_file_played_fast_waits_for_the_device_and_loses_no_frame(cameras: Cameras, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=400))

    cameras.open("lobby", str(path), pace=FAST, started_s=START_S)
    cameras.wait_for_state("lobby", ENDED)
    cameras.wait_until(lambda: sum(len(clip.times_s) for clip in cameras.taken["lobby"]) == 80)

    assert cameras.clips.dropped_frames("lobby") == 0


def test_a_feed_goes_on_after_the_time_that_was_fed_before(cameras: Cameras, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))

    # It ends at the time at which it was added, and begins five seconds before.
    cameras.open("lobby", str(path), pace=FAST, started_s=START_S, resume_from_s=START_S - 2.8)
    cameras.wait_for_state("lobby", ENDED)
    cameras.wait_until(lambda: sum(len(clip.times_s) for clip in cameras.taken["lobby"]) == 5)

    first = cameras.taken["lobby"][0]
    assert first.times_s[0] == START_S - 2.5
    assert first.lost_before[0] == RECONNECTED


def test_a_missing_file_fails_with_its_reason(cameras: Cameras, tmp_path: Path) -> None:
    cameras.open("lobby", str(tmp_path / "missing.mp4"))
    detail = cameras.wait_for_state("lobby", FAILED)

    assert "missing.mp4" in detail
    assert cameras.states["lobby"][-1][2] is SourceReason.NO_FILE


def test_a_refused_login_is_told_without_its_secret(cameras: Cameras) -> None:
    with servers.scripted_server({"/": Reply(status=401)}) as server:
        url = server.url.replace("http://", "http://viewer:c4n4ry@")
        cameras.open("lobby", f"{url}/")
        cameras.wait_until(lambda: any(reason is SourceReason.UNAUTHORIZED for _, _, reason in cameras.states["lobby"]))

    assert "c4n4ry" not in str(cameras.states)


def test_an_invalid_url_is_refused_where_it_is_opened(cameras: Cameras) -> None:
    with pytest.raises(InvalidCamera):
        cameras.open("lobby", "gopher://host/")


def test_nothing_follows_once_a_feed_has_stopped(cameras: Cameras) -> None:
    feed = cameras.open("lobby", "sim:street")
    other = cameras.open("yard", "sim:yard")
    cameras.wait_for_next_clips("lobby", "yard")

    feed.stop()  # type: ignore[attr-defined]
    cameras.wait_until(lambda: True)
    states, clips = len(cameras.states["lobby"]), len(cameras.taken["lobby"])
    cameras.wait_for_next_clips("yard")
    cameras.wait_for_next_clips("yard")

    assert (len(cameras.states["lobby"]), len(cameras.taken["lobby"])) == (states, clips)
    other.stop()  # type: ignore[attr-defined]


def film(path: Path, *seconds: tuple[int, bool]) -> Path:
    """A street at two pictures a second; black for so many seconds where the second value says so."""
    is_dark = [dark for span_s, dark in seconds for _ in range(2 * span_s)]
    street = Scene(3)
    images = (street.frame(number / 2, 192, 112) * (not dark) for number, dark in enumerate(is_dark))
    video_writer.write_video(images, path, fps=2, codec="h264")
    return path


def test_a_picture_that_goes_black_is_noted_until_it_is_back_and_no_other_camera_is(
    cameras: Cameras, tmp_path: Path
) -> None:
    lens = film(tmp_path / "lens.mp4", (10, False), (20, True), (20, False))
    with capture_logs() as lines:
        cameras.open("lobby", str(lens), pace=FAST, started_s=START_S)
        cameras.open("yard", str(film(tmp_path / "yard.mp4", (50, False))), pace=FAST, started_s=START_S)
        cameras.wait_for_state("lobby", ENDED)
        cameras.wait_for_state("yard", ENDED)

    states = [state for state, _, _ in cameras.states["lobby"]]
    assert states == [CameraState.CONNECTING, LIVE, LIVE, LIVE, ENDED]
    assert cameras.notes["lobby"] == [None, None, PictureNote.PICTURE_BLACK, None, None]
    assert set(cameras.notes["yard"]) == {None}
    logged = [line for line in lines if line.get("camera") == "lobby" and line.get("state") == LIVE]
    noted = [(line["event"], line["log_level"], line["reason"]) for line in logged]
    plain, black = ("camera_state", "info", ""), ("camera_state", "warning", "picture_black")
    assert noted == [plain, black, plain]


def test_a_note_ends_with_the_video_and_a_feed_that_starts_again_begins_anew(cameras: Cameras, tmp_path: Path) -> None:
    path = film(tmp_path / "lens.mp4", (10, False), (20, True))
    cameras.open("lobby", str(path), pace=FAST, started_s=START_S)
    cameras.wait_for_state("lobby", ENDED)
    # Eight seconds of black are left, too few for a note.
    cameras.open("again", str(path), pace=FAST, started_s=START_S, resume_from_s=START_S - 8)
    cameras.wait_for_state("again", ENDED)

    assert cameras.notes["lobby"] == [None, None, PictureNote.PICTURE_BLACK, None]
    assert cameras.notes["again"] == [None, None, None]


def test_all_give_the_same_pixels(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=20, size=(640, 360)))
    clips = []
    for factory in _FACTORIES.values():
        with factory() as open_feed:
            cameras = Cameras(open_feed)
            cameras.open("lobby", str(path), pace=FAST, started_s=START_S, config=replace(QUICK, frames_per_clip=4))
            cameras.wait_for_state("lobby", ENDED)
            cameras.wait_until(lambda cameras=cameras: len(cameras.taken["lobby"]) == 1)
            clips += cameras.taken["lobby"]

    first, *others = clips
    assert len(others) == 2
    for other in others:
        assert np.array_equal(first.frames, other.frames)
        assert all(map(np.array_equal, first.previews, other.previews))


@pytest.mark.parametrize("factory", _FACTORIES.values(), ids=_FACTORIES)
def test_a_live_camera_whose_clips_nobody_takes_is_sampled_less_often_and_says_so(
    factory: Callable[[], AbstractContextManager[Callable[..., object]]],
) -> None:
    with factory() as open_feed:
        cameras = Cameras(open_feed, max_clips=1, takes=False)
        cameras.open("lobby", "sim:street", config=replace(QUICK, sample_fps=8, frames_per_clip=1))
        slow = "sampled at 4 frames/s of 8: the machine does not keep up"
        cameras.wait_until(lambda: any(detail == slow for _, detail, _ in cameras.states["lobby"]))

        assert cameras.clips.dropped_frames("lobby") >= 1

        def has_its_rate() -> bool:
            clip = cameras.clips.take()
            return clip is not None and clip.period_s >= 2 / 8

        cameras.wait_until(has_its_rate)  # or each of its frames would be a gap


@pytest.mark.parametrize("factory", _FACTORIES.values(), ids=_FACTORIES)
def test_a_live_camera_for_which_the_device_has_half_the_time_gives_half_the_frames_and_says_so(
    factory: Callable[[], AbstractContextManager[Callable[..., object]]],
) -> None:
    with factory() as open_feed:
        cameras = Cameras(open_feed, max_clips=100)  # none is lost while a busy machine lets the test wait
        config = replace(QUICK, sample_fps=4, frames_per_clip=1)
        feed = cameras.open("lobby", "sim:street?width=64&height=64", config=config)
        cameras.wait_for_next_clips("lobby")

        feed.limit_rate(0.5)  # type: ignore[attr-defined]
        slow = "sampled at 2 frames/s of 4: the device has no time for more"
        cameras.wait_until(lambda: any(detail == slow for _, detail, _ in cameras.states["lobby"]))
        cameras.wait_until(lambda: cameras.taken["lobby"][-1].period_s == 0.5)

        assert cameras.clips.sampled_fps("lobby") == 2
        assert cameras.clips.dropped_frames("lobby") == 0


def test_a_recording_that_can_wait_loses_no_frame_where_the_device_has_no_time(
    cameras: Cameras, tmp_path: Path
) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))

    feed = cameras.open("lobby", str(path), pace=FAST, started_s=START_S)
    feed.limit_rate(0.1)  # type: ignore[attr-defined]
    cameras.wait_for_state("lobby", ENDED)
    cameras.wait_until(lambda: sum(len(clip.times_s) for clip in cameras.taken["lobby"]) == 10)

    assert all(not detail for _, detail, _ in cameras.states["lobby"])
    assert {clip.period_s for clip in cameras.taken["lobby"]} == {0.5}
