"""Files of every common codec, size and format are read to their end, each frame with its own time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.cameras import PlaybackSpeed
from tests.pipeline import footage
from tests.pipeline.footage import H264, HEIGHT, MJPEG, VP8, VP9, WIDTH, Footage
from tests.pipeline.playing import QUICK, SlowClock, VirtualClock, play

B_FRAMES = {"preset": "ultrafast", "x264-params": "bframes=2:b-adapt=0:keyint=10:scenecut=0"}
OPEN_GOP = {"preset": "ultrafast", "x264-params": "bframes=2:b-adapt=0:open-gop=1:keyint=10:scenecut=0"}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:bframes=3:open-gop=0"}
X265_OPEN = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:bframes=3:open-gop=1"}

EXACT = {
    "h264": H264,
    "h264_b_frames": replace(H264, options=B_FRAMES),
    "h264_transport_stream": replace(H264, options=B_FRAMES, container="mpegts"),
    "h264_flv": replace(H264, container="flv"),
    "h264_fragmented": replace(H264, container="ismv"),
    "h264_matroska": replace(H264, container="matroska"),
    "h264_raw": replace(H264, container="h264", fps=25, frames=75, gop=25),
    "h264_raw_b_frames": replace(H264, container="h264", options=B_FRAMES, fps=25, frames=75),
    "h264_10_bit": replace(H264, pixels="yuv420p10le"),
    "h264_422": replace(H264, pixels="yuv422p"),
    "h264_444": replace(H264, pixels="yuv444p"),
    "h264_grey": replace(H264, pixels="gray"),
    "h264_odd": replace(H264, size=(190, 110)),
    "h264_tall": replace(H264, size=(96, 256)),
    "h264_one_long_group": replace(H264, gop=30),
    "h264_every_frame_a_key": replace(H264, gop=1),
    "h264_interlaced": replace(
        H264, container="mpegts", options={"preset": "ultrafast", "x264-params": "interlaced=1"}
    ),
    "hevc": replace(H264, codec="libx265", options=X265),
    "hevc_10_bit": replace(H264, codec="libx265", options=X265, pixels="yuv420p10le"),
    "av1": replace(H264, codec="libsvtav1", options={"preset": "12"}),
    "vp9": VP9,
    "vp9_mp4": replace(VP9, container="mp4"),
    "vp8": VP8,
    "vp8_odd": replace(VP8, size=(189, 111)),
    "mjpeg": MJPEG,
    "mjpeg_mov": replace(MJPEG, container="mov"),
    "mpeg4_avi_b_frames": replace(H264, codec="mpeg4", container="avi", options={"bf": "2", "qmax": "4"}),
    "mpeg4_mp4": replace(H264, codec="mpeg4", options={"qmax": "4"}),
    "mpeg1": replace(H264, codec="mpeg1video", container="mpeg", options={"qmax": "4"}, fps=25, frames=75, gop=12),
    "wmv2": replace(H264, codec="wmv2", container="asf", options={"qmax": "4"}),
    "msmpeg4": replace(H264, codec="msmpeg4", container="avi", options={"qmax": "4"}),
    "flv1": replace(H264, codec="flv", container="flv", options={"qmax": "4"}),
    "prores": replace(H264, codec="prores_ks", container="mov", pixels="yuv422p10le", options={}),
    "ffv1": replace(H264, codec="ffv1", container="matroska", options={}),
    "huffyuv": replace(H264, codec="huffyuv", container="avi", pixels="yuv422p", options={}),
    "utvideo": replace(H264, codec="utvideo", container="avi", pixels="gbrp", options={}),
    "png": replace(H264, codec="png", container="mov", pixels="rgb24", options={}),
    "raw": replace(H264, codec="rawvideo", container="avi", options={}),
    "quicktime_animation": replace(H264, codec="qtrle", container="mov", pixels="rgb24", options={}),
    "gif": replace(H264, codec="gif", container="gif", pixels="rgb8", options={}),
    "with_sound": replace(H264, with_audio=True),
    "with_sound_ts": replace(H264, with_audio=True, container="mpegts"),
    "with_sound_webm_in_mkv": replace(VP9, with_audio=True, container="matroska"),
    "long_seconds": replace(H264, frames=8, fps=1, gop=4),
}


@pytest.mark.parametrize("video", EXACT.values(), ids=EXACT)
def test_every_second_of_a_file_is_sampled(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", video)

    played = play(str(path))

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == [round(time_s * video.fps) for time_s in played.times_s]
    rate = min(2, video.fps)
    assert len(numbers) == video.frames // video.fps * rate
    assert played.dropped == 0
    assert {(sample.image.width, sample.image.height) for sample in played.samples} == {video.size}


CUT_AT_OPEN_GROUPS = {
    "h264_open": replace(H264, options=OPEN_GOP, frames=60),
    "hevc_open": replace(H264, codec="libx265", options=X265_OPEN, frames=60),
    "mpeg2": replace(H264, codec="mpeg2video", container="mpeg", options={"bf": "2", "qmax": "4"}, fps=25, frames=75),
    "mpeg2_ts": replace(
        H264, codec="mpeg2video", container="mpegts", options={"bf": "2", "qmax": "4"}, fps=25, frames=75
    ),
}


@pytest.mark.parametrize("video", CUT_AT_OPEN_GROUPS.values(), ids=CUT_AT_OPEN_GROUPS)
def test_open_groups_lose_at_most_their_first_frames(video: Footage, tmp_path: Path) -> None:
    played = play(str(footage.write(tmp_path / "video", video)))

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    offset = numbers[0]  # the first frame may refer to a frame before the file
    assert numbers == [offset + round(time_s * video.fps) for time_s in played.times_s]
    assert len(numbers) >= video.frames // video.fps * 2 - 1
    assert offset <= 3


def test_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    upright = play(str(footage.write(tmp_path / "upright", replace(H264, frames=10))))
    turned = play(str(footage.write(tmp_path / "turned", replace(H264, frames=10, rotation=90))))

    ours, theirs = turned.samples[0].image.to_rgb(), upright.samples[0].image.to_rgb()
    assert ours.shape == (WIDTH, HEIGHT, 3)
    assert np.abs(ours.astype(int) - np.rot90(theirs)).mean() < 1


def test_a_variable_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    """Bursts at 100 frames/s and pauses of seconds: at most two frames a second, and none from a pause."""
    times = tuple(at + burst * 3000 for burst in range(3) for at in range(0, 1000, 10))
    video = Footage("libx264", "matroska", options={"preset": "ultrafast"}, frames=len(times), fps=100, times=times)

    played = play(str(footage.write(tmp_path / "video", video, [place % 256 for place in range(len(times))])))

    assert [round(time_s, 2) for time_s in played.times_s] == [0, 0.5, 3, 3.5, 6, 6.5]
    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 50, 100, 150, 200, 250]


@pytest.mark.parametrize("video", [replace(H264, gop=30), replace(VP9, gop=30)], ids=["h264", "vp9"])
def test_long_groups_played_live_are_cut_and_lose_nothing(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", video)
    config = replace(QUICK, max_segment_s=0.5)

    played = play(str(path), pace=PlaybackSpeed.LIVE, config=config, clock=VirtualClock())

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == [0, 5, 10, 15, 20, 25]


def test_slow_decoding_makes_the_cuts_of_a_long_group_rarer(tmp_path: Path) -> None:
    """Each cut decodes the group from its key frame again."""
    path = footage.write(tmp_path / "video", replace(H264, frames=60, gop=60))
    config = replace(QUICK, max_segment_s=0.5, max_lag_s=600)

    fast = play(str(path), pace=PlaybackSpeed.LIVE, config=config, clock=VirtualClock())
    slow = play(str(path), pace=PlaybackSpeed.LIVE, config=config, clock=SlowClock(0.5))

    assert [sample.time_s for sample in slow.samples] == [sample.time_s for sample in fast.samples]
    assert sum(sample.is_last for sample in fast.samples) >= 11
    assert sum(sample.is_last for sample in slow.samples) < 6


def test_the_rest_of_a_group_beyond_the_limit_is_skipped_until_the_next_key_frame(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=60, gop=40, options={"preset": "ultrafast"}))

    played = play(str(path), config=replace(QUICK, max_gop_s=1))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 40, 45, 50]


KEYS_ONLY = {
    "h264": replace(H264, frames=60),
    "h264_b_frames": replace(H264, options=B_FRAMES, frames=60),
    "h264_open": replace(H264, options=OPEN_GOP, frames=60),
    "hevc": replace(H264, codec="libx265", options=X265, frames=60),
    "hevc_open": replace(H264, codec="libx265", options=X265_OPEN, frames=60),
    "vp9": replace(VP9, frames=60),
    "vp8": replace(VP8, frames=60),
    "mjpeg": replace(MJPEG, frames=60),
}


@pytest.mark.parametrize("video", KEYS_ONLY.values(), ids=KEYS_ONLY)
def test_if_key_frames_come_as_often_as_frames_are_sampled_nothing_else_is_decoded(
    video: Footage, tmp_path: Path
) -> None:
    """Everything between the key frames is noise."""
    path = footage.write(tmp_path / "video", video)
    footage.damage_all_but_key_frames(path, tmp_path / "damaged", video.container)

    played = play(str(tmp_path / "damaged"), config=replace(QUICK, sample_fps=1))

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == [0, 10, 20, 30, 40, 50]
    assert [round(time_s, 3) for time_s in played.times_s] == [0, 1, 2, 3, 4, 5]
    assert played.dropped == 0


def test_when_key_frames_become_rare_the_frames_between_them_are_sampled(tmp_path: Path) -> None:
    rare = {"preset": "ultrafast", "x264-params": "keyint=infinite:scenecut=0", "forced-idr": "1"}
    video = replace(H264, options=rare, frames=130, gop=1000)
    path = footage.write(tmp_path / "video", video, keys=(0, 10, 20, 30, 40, 80, 90, 100, 110, 120))

    played = play(str(path), config=replace(QUICK, sample_fps=1))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == list(range(0, 130, 10))
    assert [round(time_s, 3) for time_s in played.times_s] == list(range(13))


def test_key_frames_that_do_not_decode_alone_are_detected(tmp_path: Path) -> None:
    """With gradual refresh, a frame that is marked as a key frame shows nothing yet."""
    refresh = {"preset": "ultrafast", "x264-params": "intra-refresh=1:keyint=10:scenecut=0"}
    path = footage.write(tmp_path / "video", replace(H264, options=refresh, frames=120))

    played = play(str(path), config=replace(QUICK, sample_fps=1))

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == [round(time_s * 10) for time_s in played.times_s]
    assert numbers[-6:] == [69, 79, 89, 99, 109, 119]
    assert played.dropped == 3


FAST_START = replace(H264, muxing={"movflags": "faststart"})


@pytest.mark.parametrize(
    "video", [FAST_START, VP9, MJPEG, replace(H264, container="mpegts")], ids=["mp4", "webm", "avi", "ts"]
)
def test_a_truncated_file_gives_what_can_be_read(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", video)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])

    played = play(str(path), config=QUICK)

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == [0, 5, 10, 15, 20, 25][: len(numbers)]
    assert len(numbers) >= 2


@pytest.mark.parametrize("video", [H264, VP9, VP8, MJPEG], ids=["h264", "vp9", "vp8", "mjpeg"])
def test_flipped_bits_raise_no_error(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", video)
    damaged = bytearray(path.read_bytes())
    for index in range(len(damaged) // 4, len(damaged) * 3 // 4, 97):
        damaged[index] ^= 0x55
    path.write_bytes(damaged)

    played = play(str(path))

    assert all(earlier < later for earlier, later in pairwise(played.times_s))
