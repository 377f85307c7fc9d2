"""Decoded images, reduced to the model's square input and to thumbnails."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

JPEG_QUALITY = 80


class DecodedImage(Protocol):
    """A decoded image, upright. It is converted on demand, and only as far as needed."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def width(self) -> int:
        """In pixels."""

    def to_rgb(self) -> Tensor:
        """uint8 RGB [H, W, 3]"""

    def to_preview(self) -> Tensor:
        """The image for a thumbnail, in memory of its own. uint8 RGB [H, W, 3]

        Colours may be two levels off where that is much cheaper.
        """

    def resize(self, height: int, width: int) -> Tensor:
        """Resized by antialiased bicubic interpolation. uint8 RGB [height, width, 3]"""

    def downscale(self, height: int, width: int) -> DecodedImage:
        """A smaller image, by the cheapest method that averages all pixels: a first step before `resize`."""


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """An image whose pixels are decoded already. uint8 RGB [H, W, 3]"""

    pixels: Tensor

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def to_rgb(self) -> Tensor:
        return self.pixels

    def to_preview(self) -> Tensor:
        # A decoder returns many images in one tensor, and a preview outlives them.
        return self.pixels.clone()

    def resize(self, height: int, width: int) -> Tensor:
        return resize_frames(self.pixels[None], height, width)[0]

    def downscale(self, height: int, width: int) -> ArrayImage:
        return ArrayImage(self.resize(height, width))


def downscale_for(image: DecodedImage, width: int, height: int, thumbnail_width: int) -> DecodedImage:
    """Downscales an image to the size that a frame of `width` and `height` and a thumbnail need.

    libav downscales before it converts to RGB: from 1080p that is a twelfth of the work. With twice the frame each
    way, the frame differs by a quarter of a level on average.
    """
    scale = max(thumbnail_width / image.width, 2 * width / image.width, 2 * height / image.height)
    if scale >= 1:
        return image
    return image.downscale(round(image.height * scale), round(image.width * scale))


def resize_frames(frames: Tensor, height: int, width: int) -> Tensor:
    """Resizes by antialiased bicubic interpolation. uint8 [F, H, W, 3] -> uint8 [F, height, width, 3]"""
    planes = frames.permute(0, 3, 1, 2)
    # On a CPU uint8 is ten times as fast as float (1080p to 64: 1.7 ms, not 29) and differs by at most one level where
    # images shrink. On a GPU torch resizes floats only.
    planes = planes.float() if planes.is_cuda else planes
    small = F.interpolate(planes, (height, width), mode="bicubic", antialias=True, align_corners=False)
    if small.is_floating_point():
        small = small.round_().clamp_(0, 255).to(torch.uint8)
    return small.permute(0, 2, 3, 1).contiguous()


def make_preview(image: DecodedImage, width: int) -> Tensor:
    """The pixels of a thumbnail, on the CPU, at most `width` wide, aspect ratio kept. uint8 RGB [h, w, 3]"""
    preview = image.to_preview()
    if image.width > width:
        preview = resize_frames(preview[None], max(1, round(image.height * width / image.width)), width)[0]
    return preview.cpu()


def encode_jpeg(preview: Tensor) -> bytes:
    """The thumbnail as a JPEG. uint8 RGB [h, w, 3]"""
    buffer = io.BytesIO()
    Image.fromarray(preview.numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
