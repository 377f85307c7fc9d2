"""Streams that would cost too much or break a limit are bounded and reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import PlaybackSpeed, SourceInvalid, SourceReason, SourceUnreachable
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, MJPEG
from tests.pipeline.playing import QUICK, play

ONE_KEY = {"preset": "ultrafast", "x264-params": "keyint=infinite:scenecut=0"}


def test_above_max_fps_only_the_key_frames_are_decoded(tmp_path: Path) -> None:
    video = replace(H264, fps=250, frames=2000, gop=125, size=(64, 48))
    path = footage.write(tmp_path / "video", video, (index % 256 for index in range(2000)))

    played = play(str(path), config=replace(QUICK, sample_fps=10))

    assert played.times_s[:40] == pytest.approx([index / 10 for index in range(40)], abs=0.002)
    assert played.times_s[-7:] == [4.5, 5, 5.5, 6, 6.5, 7, 7.5]
    assert played.notes == ["it has 250 frames/s (limit 130): only its key frames are decoded"]


def test_a_camera_slower_than_the_sampling_rate_is_reported(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, fps=1, frames=8, gop=2))

    played = play(str(path), config=replace(QUICK, sample_fps=5))

    assert len(played.samples) == 8
    assert played.notes == ["it has 1 frames/s, fewer than the 5 to be sampled"]


def test_a_group_of_pictures_beyond_the_limits_is_reported(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=60, gop=60, options=ONE_KEY))

    played = play(str(path), config=replace(QUICK, max_gop_s=2))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15, 20]
    assert set(played.notes) == {"its key frames are further apart than 2 s or 64 MiB: frames beyond that are left out"}


def test_a_live_stream_without_a_key_frame_is_given_up_with_the_reason(tmp_path: Path) -> None:
    """As when a client joins just after the only key frame for a long time."""
    video = replace(H264, frames=60, gop=600, options=ONE_KEY, container="mpegts")
    path = footage.write(tmp_path / "video", video)
    footage.drop_key_frames(path, tmp_path / "keyless.ts")

    with (
        servers.stream_server(((tmp_path / "keyless.ts").read_bytes(), 12.0)) as url,
        pytest.raises(SourceUnreachable, match=r"no key frame for \d+\.\d s \(limit 1 s\)"),
    ):
        play(url, pace=PlaybackSpeed.LIVE, config=replace(QUICK, max_key_wait_s=1, open_timeout_s=2))


def without_video(ts: bytes) -> list[bytes]:
    """The packets of a transport stream that do not belong to its second stream, the video."""
    packets = [ts[at : at + 188] for at in range(0, len(ts), 188)]
    return [packet for packet in packets if (packet[1] & 0x1F) << 8 | packet[2] != 0x101]


def test_audio_that_continues_does_not_hide_that_the_video_has_stopped(tmp_path: Path) -> None:
    video = replace(H264, fps=40, frames=80, container="mpegts", with_audio=True)
    whole = footage.write(tmp_path / "video.ts", video).read_bytes()
    audio = b"".join(without_video(footage.write(tmp_path / "more.ts", replace(video, frames=400)).read_bytes()))

    with (
        servers.stream_server((whole, 1.0), (audio, 8.0)) as url,
        pytest.raises(SourceUnreachable, match="audio but no video within 1 s") as caught,
    ):
        play(url, pace=PlaybackSpeed.LIVE, config=replace(QUICK, stall_after_s=1))

    assert caught.value.reason is SourceReason.NO_PICTURES


@pytest.mark.parametrize(
    ("side", "message"),
    [(8_000, "frame size 8000x8000 exceeds 4096x4096"), (16_384, "frame size missing or too large")],
)
def test_a_header_with_a_huge_frame_size_is_refused_before_anything_is_decoded(
    side: int, message: str, tmp_path: Path
) -> None:
    path = footage.write(tmp_path / "video.avi", MJPEG)
    footage.claim_size(path, side, side)

    with pytest.raises(SourceInvalid, match=message):
        play(str(path))


def test_twelve_bit_video_is_decoded(tmp_path: Path) -> None:
    video = replace(H264, codec="libx265", pixels="yuv420p12le", options={"preset": "ultrafast"})

    played = play(str(footage.write(tmp_path / "video", video)))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15, 20, 25]
