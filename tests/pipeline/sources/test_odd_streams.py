"""Streams that would cost too much or cannot be watched as they were meant to: bounded, and said so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import PlaybackSpeed, SourceInvalid, SourceUnreachable
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, MJPEG
from tests.pipeline.playing import QUICK, play

ONE_KEY = {"preset": "ultrafast", "x264-params": "keyint=infinite:scenecut=0"}


def test_of_a_thousand_frames_a_second_only_the_key_frames_are_decoded(tmp_path: Path) -> None:
    made = replace(H264, fps=1000, frames=8000, gop=500, size=(64, 48))
    path = footage.write(tmp_path / "video", made, (place % 256 for place in range(8000)))

    played = play(str(path), config=replace(QUICK, sample_fps=10))

    assert played.times_s[:40] == pytest.approx([place / 10 for place in range(40)], abs=0.002)
    assert played.times_s[-7:] == [4.5, 5, 5.5, 6, 6.5, 7, 7.5]
    assert played.notes == ["it has 1000 frames/s (limit 130): only its key frames are decoded"]


def test_a_camera_slower_than_it_is_to_be_sampled_is_reported(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, fps=1, frames=8, gop=2))

    played = play(str(path), config=replace(QUICK, sample_fps=5))

    assert len(played.samples) == 8
    assert played.notes == ["it has 1 frames/s, fewer than the 5 to be sampled"]


def test_a_group_of_pictures_beyond_the_limit_is_reported(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=60, gop=60, options=ONE_KEY))

    played = play(str(path), config=replace(QUICK, max_gop_s=2))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15, 20]
    assert set(played.notes) == {"its key frames are further apart than 2 s or 64 MiB: frames beyond that are left out"}


def test_a_live_stream_without_a_key_frame_is_given_up_with_the_reason(tmp_path: Path) -> None:
    """As one that is joined just after the only key frame it will have for a long time."""
    path = footage.write(tmp_path / "video", replace(H264, frames=60, gop=600, options=ONE_KEY, container="mpegts"))
    footage.drop_key_frames(path, tmp_path / "keyless.ts")

    with (
        servers.stream_server(((tmp_path / "keyless.ts").read_bytes(), 6.0)) as url,
        pytest.raises(SourceUnreachable, match=r"no key frame for 1\.\d s \(limit 1 s\)"),
    ):
        play(url, pace=PlaybackSpeed.LIVE, config=replace(QUICK, max_key_wait_s=1))


@pytest.mark.parametrize(
    ("side", "complaint"),
    [(8_000, "frame size 8000x8000 exceeds 4096x4096"), (16_384, "frame size missing or too large")],
)
def test_a_header_that_promises_a_huge_picture_is_refused_before_anything_is_decoded(
    side: int, complaint: str, tmp_path: Path
) -> None:
    path = footage.write(tmp_path / "video.avi", MJPEG)
    footage.claim_size(path, side, side)

    with pytest.raises(SourceInvalid, match=complaint):
        play(str(path))


def test_twelve_bits_are_decoded_like_eight(tmp_path: Path) -> None:
    made = replace(H264, codec="libx265", pixels="yuv420p12le", options={"preset": "ultrafast"})

    played = play(str(footage.write(tmp_path / "video", made)))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15, 20, 25]
