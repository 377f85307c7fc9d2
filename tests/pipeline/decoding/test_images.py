"""Images are resized, turned into previews and put into clips alike for every source."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.cameras import CameraSpec
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.images import ArrayImage, DecodedImage, downscale_for, encode_jpeg, make_preview
from pipeline.decoding.tensor_images import TensorImage, from_bt601, resize_frames
from pipeline.sources.clip_builder import ClipBuilder, square
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.source import SampledFrame
from tests.pipeline import footage
from tests.pipeline.footage import H264, MJPEG, Footage
from tests.pipeline.playing import play


def test_resizing_is_antialiased_bicubic_interpolation() -> None:
    pixels = torch.from_numpy(footage.draw(170, 640, 360))

    resized = resize_frames(pixels[None], 64, 64)

    planes = pixels[None].permute(0, 3, 1, 2).float()
    exact = F.interpolate(planes, (64, 64), mode="bicubic", antialias=True).round().clamp(0, 255)
    assert resized.shape == (1, 64, 64, 3)
    assert resized.is_contiguous()
    assert (resized.float() - exact.permute(0, 2, 3, 1)).abs().max() <= 1
    assert footage.number_of(resized[0]) == 170


FOOTAGE = {
    "h264": H264,
    "bt709": replace(H264, colorspace=1),
    "full_range": MJPEG,
    "10_bit": replace(H264, pixels="yuv420p10le"),
    "422": replace(H264, pixels="yuv422p"),
    "rgb": replace(H264, codec="png", container="mov", pixels="rgb24", options={}),
    "turned": replace(H264, rotation=90),
}


@pytest.mark.parametrize("video", FOOTAGE.values(), ids=FOOTAGE)
def test_the_model_input_is_the_same_with_and_without_downscaling_first(video: Footage, tmp_path: Path) -> None:
    """Within a quarter of a level on average and six at the sharpest edge, in every colour space and range."""
    path = footage.write(tmp_path / "video", replace(video, frames=1, size=(1280, 720)))
    (sample,) = play(str(path)).samples
    view = downscale_for(sample.image, 64, 64, 320)

    square = view.resize(64, 64)

    exact = ArrayImage(sample.image.to_rgb()).resize(64, 64)
    difference = np.abs(square.astype(int) - exact)
    assert (view.width, view.height) in ((320, 180), (320, 569))
    assert difference.mean() < 0.25
    assert difference.max() <= 6
    preview = np.abs(view.to_preview().astype(int) - view.to_rgb())
    assert preview.mean() < 2.5


@pytest.mark.parametrize("size", [(4096, 2), (2, 4096), (1, 1), (4000, 200)])
def test_a_line_of_pixels_is_resized_too(size: tuple[int, int], tmp_path: Path) -> None:
    """libav alone refuses some, and the camera failed."""
    path = footage.write(tmp_path / "video", replace(FOOTAGE["rgb"], frames=1, size=size))
    (sample,) = play(str(path)).samples

    resized = downscale_for(sample.image, 64, 64, 320).resize(64, 64)

    exact = ArrayImage(sample.image.to_rgb()).resize(64, 64)
    assert np.abs(resized.astype(int) - exact).mean() < 1


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 360), (320, 180)), ((200, 400), (200, 400)), ((3000, 2), (320, 1))]
)
def test_a_thumbnail_keeps_the_aspect_ratio(size: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels = footage.draw(5, *size)

    with Image.open(io.BytesIO(encode_jpeg(make_preview(ArrayImage(pixels), 320)))) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.size == expected


@pytest.mark.parametrize("image_of", [lambda pixels: TensorImage(torch.from_numpy(pixels)), ArrayImage])
@pytest.mark.parametrize("width", [320, 32])
def test_a_preview_owns_its_memory(image_of: Callable[[np.ndarray], DecodedImage], width: int) -> None:
    """A decoder returns the images of a segment in one array, which a waiting clip must not keep alive."""
    images = np.zeros((50, 36, 64, 3), np.uint8)

    preview = make_preview(image_of(images[7]), width)

    assert not np.shares_memory(preview, images)


def test_an_array_is_resized_as_a_tensor_is() -> None:
    pixels = footage.draw(170, 640, 360)

    array, tensor = ArrayImage(pixels).resize(64, 64), TensorImage(torch.from_numpy(pixels)).resize(64, 64)

    assert np.abs(array.astype(int) - tensor).max() <= 1


@pytest.mark.parametrize("matrix", ColourMatrix)
def test_grey_is_grey_in_every_matrix(matrix: ColourMatrix) -> None:
    grey = torch.arange(256, dtype=torch.uint8)[:, None].expand(256, 3)

    assert torch.equal(from_bt601(grey, matrix), grey)


LOBBY = CameraSpec(name="lobby", url="sim:lobby")


def sample(time_s: float, *, is_last: bool = True) -> SampledFrame:
    return SampledFrame(time_s, ArrayImage(np.full((36, 64, 3), 7, np.uint8)), is_last)


def sizes(builder: ClipBuilder, arrivals: list[tuple[float, SampledFrame]]) -> list[int]:
    clips = [builder.add(one, now_s) for now_s, one in arrivals]
    return [len(clip.times_s) for clip in clips if clip is not None]


def test_a_fast_source_fills_every_clip() -> None:
    builder = ClipBuilder(LOBBY, IngestConfig(), square(16), is_live=False)

    assert sizes(builder, [(100.0, sample(index / 2)) for index in range(10)]) == [4, 4]
    rest = builder.flush(100.0)
    assert rest is not None
    assert rest.times_s == (4.0, 4.5)
    assert rest.frames.shape == (2, 16, 16, 3)
    assert builder.flush(100.0) is None


def test_single_frames_wait_at_most_max_clip_wait_s() -> None:
    builder = ClipBuilder(LOBBY, IngestConfig(max_clip_wait_s=1), square(16), is_live=True)

    assert sizes(builder, [(index / 2 + 0.01, sample(index / 2)) for index in range(9)]) == [3, 3, 3]


@pytest.mark.parametrize("lag_s", [-0.1, 0.0, 0.3])
def test_the_frames_of_a_segment_make_one_clip_at_once(lag_s: float) -> None:
    builder = ClipBuilder(LOBBY, IngestConfig(max_clip_wait_s=1), square(16), is_live=True)
    arrivals = [
        (second + 1 + lag_s, sample(second + half / 2, is_last=half == 1)) for second in range(4) for half in range(2)
    ]

    assert sizes(builder, arrivals) == [2, 2, 2, 2]


def test_a_frame_of_another_size_completes_the_clip_before_it() -> None:
    """A model that reads frames at their own shape gets clips of one shape each."""
    builder = ClipBuilder(LOBBY, IngestConfig(), lambda width, height: (width // 4, height // 4), is_live=False)
    wide = [sample(0.0), sample(0.5)]
    tall = [SampledFrame(time_s, ArrayImage(np.full((64, 36, 3), 9, np.uint8)), True) for time_s in (1.0, 1.5)]

    clips = [builder.add(one, 10.0) for one in (*wide, *tall)]

    assert [clip is not None for clip in clips] == [False, False, True, False]
    assert clips[2] is not None
    assert (clips[2].times_s, clips[2].frames.shape) == ((0.0, 0.5), (2, 9, 16, 3))
    rest = builder.flush(10.0)
    assert rest is not None
    assert (rest.times_s, rest.frames.shape) == ((1.0, 1.5), (2, 16, 9, 3))
