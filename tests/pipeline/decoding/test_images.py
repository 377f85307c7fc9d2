"""Pictures are reduced, turned into thumbnails and put into clips alike for every source."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.cameras import CameraSpec
from pipeline.decoding.colourspace import ColourMatrix, from_bt601
from pipeline.decoding.images import ArrayImage, downscale_for, encode_jpeg, make_preview, resize_frames
from pipeline.sources.clip_builder import ClipBuilder
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.source import SampledFrame
from tests.pipeline import footage
from tests.pipeline.footage import H264, MJPEG, Footage
from tests.pipeline.playing import play


def test_reducing_is_antialiased_bicubic_interpolation() -> None:
    picture = torch.from_numpy(footage.draw(170, 640, 360))

    reduced = resize_frames(picture[None], 64, 64)

    planes = picture[None].permute(0, 3, 1, 2).float()
    exact = F.interpolate(planes, (64, 64), mode="bicubic", antialias=True).round().clamp(0, 255)
    assert reduced.shape == (1, 64, 64, 3)
    assert reduced.is_contiguous()
    assert (reduced.float() - exact.permute(0, 2, 3, 1)).abs().max() <= 1
    assert footage.number_of(reduced[0]) == 170


REDUCED = {
    "h264": H264,
    "bt709": replace(H264, colorspace=1),
    "full_range": MJPEG,
    "10_bit": replace(H264, pixels="yuv420p10le"),
    "422": replace(H264, pixels="yuv422p"),
    "rgb": replace(H264, codec="png", container="mov", pixels="rgb24", options={}),
    "turned": replace(H264, rotation=90),
}


@pytest.mark.parametrize("made", REDUCED.values(), ids=REDUCED)
def test_the_models_square_is_the_same_whether_a_picture_was_reduced_on_the_way_or_not(
    made: Footage, tmp_path: Path
) -> None:
    """Within a quarter of a level in the mean and six at the sharpest edge: no colour or range is lost on the way."""
    path = footage.write(tmp_path / "video", replace(made, frames=1, size=(1280, 720)))
    (sample,) = play(str(path)).samples
    view = downscale_for(sample.image, 64, 320)

    square = view.resize(64, 64)

    exact = resize_frames(sample.image.to_rgb()[None], 64, 64)[0]
    difference = (square.int() - exact.int()).abs().float()
    assert (view.width, view.height) in ((320, 180), (320, 569))
    assert difference.mean() < 0.25
    assert difference.max() <= 6
    preview = (view.to_preview().int() - view.to_rgb().int()).abs().float()
    assert preview.mean() < 2.5


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 360), (320, 180)), ((200, 400), (200, 400)), ((3000, 2), (320, 1))]
)
def test_a_thumbnail_keeps_the_pictures_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = torch.from_numpy(footage.draw(5, *size))

    with Image.open(io.BytesIO(encode_jpeg(make_preview(ArrayImage(picture), 320)))) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.size == expected


def test_a_preview_keeps_nothing_larger_alive() -> None:
    """A decoder gives a whole segment's pictures in one tensor, and a clip may wait long after it."""
    pictures = torch.zeros(50, 36, 64, 3, dtype=torch.uint8)

    preview = make_preview(ArrayImage(pictures[7]), 320)

    assert preview.untyped_storage().nbytes() == preview.nbytes == 36 * 64 * 3


@pytest.mark.parametrize("matrix", ColourMatrix)
def test_grey_is_grey_in_every_matrix(matrix: ColourMatrix) -> None:
    grey = torch.arange(256, dtype=torch.uint8)[:, None].expand(256, 3)

    assert torch.equal(from_bt601(grey, matrix), grey)


LOBBY = CameraSpec(name="lobby", url="sim:lobby")


def sample(time_s: float, *, is_last: bool = True) -> SampledFrame:
    return SampledFrame(time_s, ArrayImage(torch.full((36, 64, 3), 7, dtype=torch.uint8)), is_last)


def sizes(builder: ClipBuilder, arrivals: list[tuple[float, SampledFrame]]) -> list[int]:
    clips = [builder.add(one, now_s) for now_s, one in arrivals]
    return [len(clip.times_s) for clip in clips if clip is not None]


def test_a_fast_source_fills_every_clip() -> None:
    builder = ClipBuilder(LOBBY, IngestConfig(), 16, is_live=False)

    assert sizes(builder, [(100.0, sample(place / 2)) for place in range(10)]) == [4, 4]
    rest = builder.flush(100.0)
    assert rest is not None
    assert rest.times_s == (4.0, 4.5)
    assert rest.frames.shape == (2, 16, 16, 3)
    assert builder.flush(100.0) is None


def test_frames_one_by_one_wait_no_longer_than_allowed() -> None:
    builder = ClipBuilder(LOBBY, IngestConfig(max_clip_wait_s=1), 16, is_live=True)

    assert sizes(builder, [(place / 2 + 0.01, sample(place / 2)) for place in range(9)]) == [3, 3, 3]


@pytest.mark.parametrize("lag_s", [-0.1, 0.0, 0.3])
def test_a_segments_frames_go_together_and_at_once(lag_s: float) -> None:
    builder = ClipBuilder(LOBBY, IngestConfig(max_clip_wait_s=1), 16, is_live=True)
    arrivals = [
        (second + 1 + lag_s, sample(second + half / 2, is_last=half == 1)) for second in range(4) for half in range(2)
    ]

    assert sizes(builder, arrivals) == [2, 2, 2, 2]
