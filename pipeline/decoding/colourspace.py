"""How brightness and colour became numbers: the matrices of video, and from one to another."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor


class ColourMatrix(StrEnum):
    """Which weights of red and blue make up the brightness of a stream; untagged streams count as BT.601."""

    BT601 = "bt601"
    BT709 = "bt709"
    BT2020 = "bt2020"


_RED_AND_BLUE = {
    ColourMatrix.BT601: (0.299, 0.114),
    ColourMatrix.BT709: (0.2126, 0.0722),
    ColourMatrix.BT2020: (0.2627, 0.0593),
}


def from_bt601(pixels: Tensor, matrix: ColourMatrix) -> Tensor:
    """Pictures that were converted by BT.601 although they are in `matrix`, put right. uint8 [..., 3] -> uint8 [..., 3]

    Colours that the wrong conversion drove out of range stay clipped.
    """
    if matrix is ColourMatrix.BT601:
        return pixels
    mend = _to_rgb(matrix) @ _to_rgb(ColourMatrix.BT601).inverse()
    mended = pixels.float() @ mend.T.to(pixels.device)
    return mended.round_().clamp_(0, 255).to(torch.uint8)


def _to_rgb(matrix: ColourMatrix) -> Tensor:
    """From brightness and the two colour differences to red, green and blue. [3, 3]"""
    red, blue = _RED_AND_BLUE[matrix]
    green = 1 - red - blue
    return torch.tensor(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    )
