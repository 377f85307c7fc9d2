"""Privacy masks: parts of an image that are blacked out before it is used, whichever decoder it comes from."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras import Polygon
from pipeline.decoding.images import ArrayImage, DecodedImage

# Chroma is stored for two pixels each way and interpolated into the neighbouring pixels when an image is decoded.
MARGIN = 2

_Point = NDArray[np.float64]  # [x, y]


class PrivacyMasks:
    """The masks of one camera, for images of any size."""

    def __init__(self, polygons: tuple[Polygon, ...]) -> None:
        """polygons: corners in 0..1 of the upright image's width and height."""
        self._polygons = polygons
        # Of the last image's size: bits of each byte that stay. One "and" over a whole image of 1080p takes 0.2 ms, to
        # set the hidden pixels of a mask 4 to 25.
        self._shown = np.zeros((0, 0, 3), np.uint8)

    def apply(self, image: DecodedImage) -> DecodedImage:
        """The image with the masks in black; the same object if there are no masks."""
        if not self._polygons:
            return image
        pixels = image.to_rgb()
        if self._shown.shape != pixels.shape:
            is_hidden = hidden_pixels(self._polygons, *pixels.shape[:2])
            self._shown = np.repeat(np.where(is_hidden, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
        return ArrayImage(np.bitwise_and(pixels, self._shown))


def hidden_pixels(polygons: tuple[Polygon, ...], height: int, width: int) -> NDArray[np.bool_]:
    """Every pixel that a polygon touches, and a margin of MARGIN pixels around it. bool [height, width]"""
    touched = np.zeros((height, width), np.bool_)
    for polygon in polygons:
        corners = np.array(polygon, np.float64) * (width, height)
        is_inside = np.zeros_like(touched)
        for start, end in itertools.pairwise([*corners, corners[0]]):
            is_inside ^= _is_left_of(start, end, height, width)
            _draw_edge(touched, start, end)
        touched |= is_inside
    return _dilated(_dilated(touched).T).T


def _dilated(touched: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Also what is at most MARGIN rows away."""
    dilated = touched.copy()
    for step in range(1, MARGIN + 1):
        dilated[step:] |= touched[:-step]
        dilated[:-step] |= touched[step:]
    return dilated


def _is_left_of(start: _Point, end: _Point, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels from whose centre a ray to the right crosses this edge; from inside, an odd number of edges."""
    across, down = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    is_beside = (start[1] > down) != (end[1] > down)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of a level edge, which no pixel is beside
        crossing = start[0] + (down - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
        is_left: NDArray[np.bool_] = is_beside & (across < crossing)
    return is_left


def _draw_edge(touched: NDArray[np.bool_], start: _Point, end: _Point) -> None:
    """Marks the pixels along an edge, because a polygon may be too thin to contain the centre of any."""
    height, width = touched.shape
    steps = int(np.abs(end - start).max() * 2) + 2
    points = np.linspace(start, end, steps).astype(np.int64)
    touched[points[:, 1].clip(max=height - 1), points[:, 0].clip(max=width - 1)] = True
