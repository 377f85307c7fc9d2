"""Images that DALI decoded: torch tensors, on the GPU where it decodes there. They are reduced where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.images import Pixels

_RED_AND_BLUE_IN_LUMA = {
    ColourMatrix.BT601: (0.299, 0.114),
    ColourMatrix.BT709: (0.2126, 0.0722),
    ColourMatrix.BT2020: (0.2627, 0.0593),
}


@dataclass(frozen=True, slots=True)
class TensorImage:
    """An image in a tensor. uint8 RGB [H, W, 3]"""

    pixels: Tensor

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def to_rgb(self) -> Pixels:
        return _array(self.pixels)

    def to_preview(self) -> Pixels:
        # A decoder returns many images in one tensor, and a preview outlives them.
        return _array(self.pixels.clone())

    def resize(self, height: int, width: int) -> Pixels:
        return _array(resize_frames(self.pixels[None], height, width)[0])

    def downscale(self, height: int, width: int) -> TensorImage:
        return TensorImage(resize_frames(self.pixels[None], height, width)[0])


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


def from_bt601(pixels: Tensor, matrix: ColourMatrix) -> Tensor:
    """Corrects RGB images that were converted by BT.601 although their matrix is `matrix`. uint8 [..., 3] -> [..., 3]

    Colours that the wrong conversion clipped stay clipped.
    """
    if matrix is ColourMatrix.BT601:
        return pixels
    correction = _to_rgb(matrix) @ _to_rgb(ColourMatrix.BT601).inverse()
    corrected = pixels.float() @ correction.T.to(pixels.device)
    return corrected.round_().clamp_(0, 255).to(torch.uint8)


def _array(pixels: Tensor) -> Pixels:
    array: Pixels = pixels.cpu().numpy()
    return array


def _to_rgb(matrix: ColourMatrix) -> Tensor:
    """The matrix from YCbCr (luma, blue and red difference) to RGB. [3, 3]"""
    red, blue = _RED_AND_BLUE_IN_LUMA[matrix]
    green = 1 - red - blue
    return torch.tensor(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    )
