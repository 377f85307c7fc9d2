"""The colour matrices of video (YCbCr to RGB), and the correction of images converted by the wrong one."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor


class ColourMatrix(StrEnum):
    """The YCbCr matrix of a stream; a stream without a tag counts as BT.601."""

    BT601 = "bt601"
    BT709 = "bt709"
    BT2020 = "bt2020"


_RED_AND_BLUE_IN_LUMA = {
    ColourMatrix.BT601: (0.299, 0.114),
    ColourMatrix.BT709: (0.2126, 0.0722),
    ColourMatrix.BT2020: (0.2627, 0.0593),
}


def from_bt601(pixels: Tensor, matrix: ColourMatrix) -> Tensor:
    """Corrects RGB images that were converted by BT.601 although their matrix is `matrix`. uint8 [..., 3] -> [..., 3]

    Colours that the wrong conversion clipped stay clipped.
    """
    if matrix is ColourMatrix.BT601:
        return pixels
    correction = _to_rgb(matrix) @ _to_rgb(ColourMatrix.BT601).inverse()
    corrected = pixels.float() @ correction.T.to(pixels.device)
    return corrected.round_().clamp_(0, 255).to(torch.uint8)


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
