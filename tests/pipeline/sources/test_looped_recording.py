"""Recordings at fast pace and in a loop: which times their frames have, and that none is given before its time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.cameras import CameraState, PlaybackSpeed
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, VP9, WITHOUT_PARSER
from tests.pipeline.playing import START_S, SourceOutput, VirtualClock, play, running_feed

FAST, LIVE = PlaybackSpeed.FAST, PlaybackSpeed.LIVE
TWO_SECONDS = replace(H264, frames=20)


def numbers(output: SourceOutput) -> list[int]:
    return [footage.number_of(sample.image.to_rgb()) for sample in output.samples]


def test_a_fast_file_ends_when_its_camera_was_added(tmp_path: Path) -> None:
    path, clock = footage.write(tmp_path / "video", replace(VP9, frames=20)), VirtualClock()

    with servers.file_server(tmp_path) as server:
        played = play(f"{server}/{path.name}", pace=FAST, clock=clock)

    assert played.times_s == pytest.approx([-2, -1.5, -1, -0.5])
    assert clock.now_s == START_S


@pytest.mark.parametrize("max_samples", [1, 6, 100])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "h264"])
def test_no_frame_of_a_fast_file_is_given_before_its_time(container: str, max_samples: int, tmp_path: Path) -> None:
    """The header of an elementary stream says nothing of its length."""
    path = footage.write(tmp_path / "video", replace(TWO_SECONDS, container=container, frames=60))
    clock = VirtualClock()

    played = play(str(path), pace=FAST, clock=clock, max_samples=max_samples)

    assert played.samples[-1].time_s <= clock.now_s


def test_a_looped_file_has_new_times_in_each_round_without_a_gap(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", TWO_SECONDS)

    played = play(str(path), pace=LIVE, clock=VirtualClock(), max_samples=14, loop=True)

    assert played.times_s == pytest.approx([index / 2 for index in range(14)])
    assert numbers(played) == 3 * [0, 5, 10, 15] + [0, 5]
    assert played.dropped == 0


def test_a_round_of_a_loop_is_no_line_in_the_log(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", TWO_SECONDS)

    with capture_logs() as lines:
        play(str(path), pace=LIVE, clock=VirtualClock(), max_samples=14, loop=True)

    assert [line for line in lines if line["log_level"] != "debug"] == []


def test_rounds_of_any_length_keep_the_grid_of_the_samples(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(TWO_SECONDS, frames=3))

    played = play(str(path), pace=LIVE, clock=VirtualClock(), max_samples=10, loop=True)

    assert played.times_s == pytest.approx([index / 2 for index in range(10)])


def test_a_fast_loop_catches_up_and_goes_on_at_its_own_speed(tmp_path: Path) -> None:
    path, clock = footage.write(tmp_path / "video", TWO_SECONDS), VirtualClock()

    played = play(str(path), pace=FAST, clock=clock, max_samples=10, loop=True)

    assert played.times_s == pytest.approx([index / 2 for index in range(10)])
    assert START_S + 4.5 <= clock.now_s < START_S + 6.1


@pytest.mark.parametrize(("pace", "first"), [(FAST, 3.5), (LIVE, 7.5)])
def test_another_process_shows_the_same_frames_at_the_same_times(
    pace: PlaybackSpeed, first: float, tmp_path: Path
) -> None:
    path, clock = footage.write(tmp_path / "video", replace(TWO_SECONDS, gop=5)), VirtualClock(START_S + 7.4)

    played = play(str(path), pace=pace, clock=clock, after_s=START_S + 3, max_samples=6, loop=True)

    times_s = [time_s for time_s in played.times_s if time_s >= first - 0.01]
    assert times_s[0] == pytest.approx(first)
    assert [number / 10 for number in numbers(played)] == pytest.approx([time_s % 2 for time_s in played.times_s])
    assert played.times_s == sorted(set(played.times_s))
    assert math.isclose(min(played.times_s), 3.5) or pace is LIVE


def test_a_looped_camera_stays_live(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(TWO_SECONDS, frames=10))

    with running_feed(str(path), LIVE, loop=True) as feed:
        times_s = [time_s for _ in range(5) for time_s in feed.take().times_s]

    assert times_s == pytest.approx([times_s[0] + index / 2 for index in range(len(times_s))])
    assert feed.states == [(CameraState.CONNECTING, ""), (CameraState.LIVE, "")]


def test_a_looped_file_without_a_frame_fails(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(b"no video" * 100)

    with running_feed(str(tmp_path / "video"), loop=True) as feed:
        feed.wait_for(CameraState.FAILED)


def test_frames_without_marked_key_frames_are_decoded_whole(tmp_path: Path) -> None:
    """Over HTTP without byte ranges libav calls every frame of such a file a key frame."""
    path = footage.write(tmp_path / "video", replace(WITHOUT_PARSER, frames=60, gop=12))
    with servers.file_server(tmp_path) as server:
        over_http = play(f"{server}/{path.name}")

    assert numbers(over_http) == numbers(play(str(path))) == list(range(0, 60, 5))
