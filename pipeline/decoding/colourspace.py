"""The colour matrices of video (YCbCr to RGB)."""

from __future__ import annotations

from enum import StrEnum


class ColourMatrix(StrEnum):
    """The YCbCr matrix of a stream; a stream without a tag counts as BT.601."""

    BT601 = "bt601"
    BT709 = "bt709"
    BT2020 = "bt2020"
