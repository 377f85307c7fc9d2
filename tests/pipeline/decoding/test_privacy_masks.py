"""Masked pixels influence neither the input of the model nor the thumbnail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras import CameraSpec, InvalidMask, PlaybackSpeed, Polygon
from pipeline.decoding.images import ArrayImage
from pipeline.decoding.privacy_masks import hidden_pixels
from pipeline.sources.clip_builder import ClipBuilder, square
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.source import SampledFrame
from tests.pipeline import footage
from tests.pipeline.footage import H264, VP9, Footage
from tests.pipeline.playing import play

SHARE = st.floats(0, 1)
POLYGONS = st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=8).map(tuple)
LEFT_HALF: Polygon = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def is_valid(polygon: Polygon) -> bool:
    try:
        CameraSpec(name="lobby", url="sim:lobby", masks=(polygon,))
    except InvalidMask:
        return False
    return True


def clip_of(pixels: np.ndarray, *polygons: Polygon) -> Clip:
    """The clip of one image of a camera with these masks."""
    spec = CameraSpec(name="lobby", url="sim:lobby", masks=polygons)
    builder = ClipBuilder(spec, IngestConfig(frames_per_clip=1, thumbnail_width=80), square(16), is_live=False)
    clip = builder.add(SampledFrame(0.0, ArrayImage(pixels)), 0.0)
    assert clip is not None
    return clip


@settings(max_examples=60)
@given(polygon=POLYGONS.filter(is_valid), seed=st.integers(0, 99))
def test_no_pixel_under_a_mask_changes_the_clip(polygon: Polygon, seed: int) -> None:
    pixels, others = np.random.default_rng(seed).integers(0, 256, (2, 90, 160, 3), np.uint8)
    is_hidden = hidden_pixels((polygon,), 90, 160)
    changed = np.where(is_hidden[..., None], others, pixels)

    ours, theirs = clip_of(pixels, polygon), clip_of(changed, polygon)

    assert np.array_equal(ours.frames, theirs.frames)
    assert np.array_equal(ours.previews[0], theirs.previews[0])


@settings(max_examples=60)
@given(polygon=POLYGONS.filter(is_valid), height=st.integers(1, 70), width=st.integers(1, 70))
def test_every_pixel_inside_of_a_polygon_is_hidden(polygon: Polygon, height: int, width: int) -> None:
    is_hidden = hidden_pixels((polygon,), height, width)

    for row in range(height):
        for column in range(width):
            if is_inside(polygon, (column + 0.5) / width, (row + 0.5) / height):
                assert is_hidden[row, column]


def is_inside(polygon: Polygon, x: float, y: float) -> bool:
    """By the number of edges that a ray to the right crosses."""
    crossings = 0
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (ay > y) != (by > y):
            crossings += x < ax + (y - ay) / (by - ay) * (bx - ax)
    return crossings % 2 == 1


def test_pixels_outside_of_the_mask_and_its_margin_are_not_hidden() -> None:
    is_hidden = hidden_pixels((LEFT_HALF,), 100, 200)

    assert is_hidden[:, :100].all()
    assert not is_hidden[:, 104:].any()


@pytest.mark.parametrize("video", [H264, VP9], ids=["libav", "dali"])
def test_images_of_either_decoder_are_masked(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(video, frames=1, size=(640, 360)))
    (sample,) = play(str(path), pace=PlaybackSpeed.FAST).samples
    spec = CameraSpec(name="lobby", url=str(path), masks=(LEFT_HALF,))
    builder = ClipBuilder(spec, IngestConfig(frames_per_clip=1), square(64), is_live=False)

    clip = builder.add(sample, 0.0)

    assert clip is not None
    assert clip.frames[0, :, :31].max() == 0
    assert clip.frames[0, :, 34:].mean() > 40


@pytest.mark.parametrize(
    ("polygon", "problem"),
    [
        (((0.0, 0.0), (1.0, 1.0)), r"mask 0: 2 corners \(at least 3"),
        (((0.0, 0.0), (1.0, 0.0), (1.2, 1.0)), r"corner \[1\.2, 1\.0\] lies outside"),
        (((0.0, 0.0), (1.0, 0.0), (float("nan"), 1.0)), "lies outside"),
        (((0.1, 0.1), (0.5, 0.5), (0.9, 0.9)), r"its area is \S+ of the image"),
        (tuple((index / 100, 0.5) for index in range(65)), "65 corners"),
    ],
)
def test_a_polygon_without_area_or_outside_of_the_image_is_refused(polygon: Polygon, problem: str) -> None:
    with pytest.raises(InvalidMask, match=f"camera 'lobby': .*{problem}"):
        CameraSpec(name="lobby", url="sim:lobby", masks=(polygon,))


def test_the_number_of_masks_is_limited() -> None:
    with pytest.raises(InvalidMask, match=r"33 masks \(limit 32\)"):
        CameraSpec(name="lobby", url="sim:lobby", masks=(LEFT_HALF,) * 33)
