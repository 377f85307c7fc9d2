"""From a decoded picture to what is kept of it: the model's small square and a thumbnail."""

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
    """A decoded picture, upright. It is converted when it is asked for, and only as far."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def width(self) -> int:
        """In pixels."""

    def to_rgb(self) -> Tensor:
        """uint8 RGB [H, W, 3]"""

    def to_preview(self) -> Tensor:
        """For eyes only, in memory of its own: colours may be two levels off where that is much cheaper.

        uint8 RGB [H, W, 3]
        """

    def resize(self, height: int, width: int) -> Tensor:
        """By antialiased bicubic interpolation. uint8 RGB [height, width, 3]"""

    def downscale(self, height: int, width: int) -> DecodedImage:
        """A smaller one, by the cheapest way that mixes every pixel in: a first step on the way to a much smaller."""


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """A picture whose pixels are at hand. uint8 RGB [H, W, 3]"""

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
        # A decoder gives many pictures in one tensor, and a preview outlives them.
        return self.pixels.clone()

    def resize(self, height: int, width: int) -> Tensor:
        return resize_frames(self.pixels[None], height, width)[0]

    def downscale(self, height: int, width: int) -> ArrayImage:
        return ArrayImage(self.resize(height, width))


def downscale_for(picture: DecodedImage, side: int, width: int) -> DecodedImage:
    """The picture as small as still serves a square of `side` and a thumbnail of `width`.

    libav reduces a picture as it is compressed, before it turns it into RGB: from 1080p, a twelfth of the work. At
    twice the square each way, the square differs by a quarter of a level in the mean.
    """
    scale = max(width / picture.width, 2 * side / picture.width, 2 * side / picture.height)
    if scale >= 1:
        return picture
    return picture.downscale(round(picture.height * scale), round(picture.width * scale))


def resize_frames(frames: Tensor, height: int, width: int) -> Tensor:
    """Resized by antialiased bicubic interpolation and rounded. uint8 [F, H, W, 3] -> uint8 [F, height, width, 3]"""
    planes = frames.permute(0, 3, 1, 2)
    # uint8 throughout is ten times as fast on a CPU (1080p to 64: 1.7 ms, not 29) and differs by one level at most
    # where pictures shrink; on a GPU torch has it for floats only.
    planes = planes.float() if planes.is_cuda else planes
    small = F.interpolate(planes, (height, width), mode="bicubic", antialias=True, align_corners=False)
    if small.is_floating_point():
        small = small.round_().clamp_(0, 255).to(torch.uint8)
    return small.permute(0, 2, 3, 1).contiguous()


def make_preview(picture: DecodedImage, width: int) -> Tensor:
    """What a thumbnail shows, on the CPU: at most `width` wide, in the picture's shape. uint8 RGB [h, w, 3]"""
    preview = picture.to_preview()
    if picture.width > width:
        preview = resize_frames(preview[None], max(1, round(picture.height * width / picture.width)), width)[0]
    return preview.cpu()


def encode_jpeg(preview: Tensor) -> bytes:
    """The thumbnail. uint8 RGB [h, w, 3]"""
    buffer = io.BytesIO()
    Image.fromarray(preview.numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
