"""Images as the body of a message, in raw bytes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.decoding.images import Pixels


def body_of(arrays: Iterable[Pixels]) -> list[memoryview]:
    """The body that holds these arrays, one after the other."""
    return [np.ascontiguousarray(pixels).reshape(-1).data for pixels in arrays]


def arrays_of(body: bytearray, sizes: Iterable[tuple[int, int]]) -> list[Pixels]:
    """The arrays that a body holds, by their heights and widths, as views. uint8 RGB [H, W, 3]"""
    pixels, at = np.frombuffer(body, np.uint8), 0
    arrays: list[Pixels] = []
    for height, width in sizes:
        arrays.append(pixels[at : at + 3 * height * width].reshape(height, width, 3))
        at += 3 * height * width
    return arrays
