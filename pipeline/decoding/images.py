"""Decoded images, reduced to the model's input and to thumbnails, without torch: an ingest worker starts in no time."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 80

Pixels = NDArray[np.uint8]


class DecodedImage(Protocol):
    """A decoded image, upright. It is converted on demand, and only as far as needed."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def width(self) -> int:
        """In pixels."""

    def to_rgb(self) -> Pixels:
        """uint8 RGB [H, W, 3]"""

    def to_preview(self) -> Pixels:
        """The image for a thumbnail, in memory of its own. uint8 RGB [H, W, 3]

        Colours may be two levels off where that is much cheaper.
        """

    def resize(self, height: int, width: int) -> Pixels:
        """Resized by antialiased bicubic interpolation. uint8 RGB [height, width, 3]"""

    def downscale(self, height: int, width: int) -> DecodedImage:
        """A smaller image, by the cheapest method that averages all pixels: a first step before `resize`."""


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """An image whose pixels are decoded already. uint8 RGB [H, W, 3]"""

    pixels: Pixels

    @property
    def height(self) -> int:
        return len(self.pixels)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def to_rgb(self) -> Pixels:
        return self.pixels

    def to_preview(self) -> Pixels:
        # Many images may share one array, and a preview outlives them.
        return self.pixels.copy()

    def resize(self, height: int, width: int) -> Pixels:
        return _resized(self.pixels, height, width, Image.Resampling.BICUBIC)

    def downscale(self, height: int, width: int) -> ArrayImage:
        return ArrayImage(_resized(self.pixels, height, width, Image.Resampling.BOX))


@dataclass(frozen=True, slots=True)
class ReducedImage(ArrayImage):
    """An image that is masked and has the model's size already, with its thumbnail. preview: uint8 RGB [h, w, 3]"""

    preview: Pixels

    def to_preview(self) -> Pixels:
        return self.preview


def downscale_for(image: DecodedImage, width: int, height: int, thumbnail_width: int) -> DecodedImage:
    """Downscales an image to the size that a frame of `width` and `height` and a thumbnail need.

    libav downscales before it converts to RGB: from 1080p that is a twelfth of the work. With twice the frame each
    way, the frame differs by a quarter of a level on average.
    """
    scale = max(thumbnail_width / image.width, 2 * width / image.width, 2 * height / image.height)
    if scale >= 1:
        return image
    return image.downscale(max(1, round(image.height * scale)), max(1, round(image.width * scale)))


def make_preview(image: DecodedImage, width: int) -> Pixels:
    """The pixels of a thumbnail, at most `width` wide, aspect ratio kept. uint8 RGB [h, w, 3]"""
    preview = image.to_preview()
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        preview = _resized(preview, height, width, Image.Resampling.BICUBIC)
    return preview


def encode_jpeg(preview: Pixels) -> bytes:
    """The thumbnail as a JPEG. uint8 RGB [h, w, 3]"""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(preview)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _resized(pixels: Pixels, height: int, width: int, filter_: Image.Resampling) -> Pixels:
    """In memory of its own. uint8 RGB [H, W, 3] -> [height, width, 3]"""
    return np.array(Image.fromarray(pixels).resize((width, height), filter_))
