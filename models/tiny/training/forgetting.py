"""Probabilities that a bounded memory keeps a token, for training: uniform, or by change. Never by the true answer."""

import random

import numpy as np
from numpy.typing import NDArray

from models.tiny.network import CELL_SIDE

_CHANGE = 2.0  # times the median difference of two frames of the clip, which is sensor noise and drift


def by_chance(tokens: int, share: float) -> NDArray[np.float64]:
    """The same probability for every token. -> [tokens]"""
    return np.full(tokens, share)


def by_change(pixels: NDArray[np.uint8], changed_share: float, still_share: float) -> NDArray[np.float64]:
    """One probability where the image changed since the frame before, and another elsewhere.

    [T, H, W, 3] -> [T * P]
    """
    frames, height, width, _ = pixels.shape
    rows, columns, side = height // CELL_SIDE, width // CELL_SIDE, CELL_SIDE
    difference = np.abs(np.diff(pixels.astype(np.float32), axis=0, prepend=pixels[:1]))
    per_cell = difference.reshape(frames, rows, side, columns, side, 3).mean(axis=(2, 4, 5)).reshape(-1)
    usual = np.median(per_cell[rows * columns :]) if frames > 1 else 0.0
    return np.where(per_cell > _CHANGE * usual + 1.0, changed_share, still_share)


def random_kind(rng: random.Random, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Either kind, at random, with random probabilities. [T, H, W, 3] -> [T * P]"""
    if rng.random() < 0.5:
        return by_chance(
            len(pixels) * (pixels.shape[1] // CELL_SIDE) * (pixels.shape[2] // CELL_SIDE), rng.uniform(0.15, 0.7)
        )
    return by_change(pixels, rng.uniform(0.3, 1.0), rng.uniform(0.0, 0.12))
