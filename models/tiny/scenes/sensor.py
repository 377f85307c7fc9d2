"""The camera sensor: slow drift of the light, lamps that switch, and noise in every frame."""

import math
import random
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.sprites import FRAME_SIZE

_LAMPS_ON = (1.0, 1.0, 1.0)
_LAMPS_OFF = (0.72, 0.76, 0.86)  # factors of red, green and blue
_NOISE_DEPTH = 5.0  # of 255, at 640 x 360; smaller frames average some of it out


class Sensor:
    """The sensor of one seed. switch_every_s: mean time between the lamps going off and on; None for never."""

    def __init__(self, seed: int, switch_every_s: float | None = None) -> None:
        self._seed = seed
        self._grains: dict[tuple[int, int], NDArray[np.float32]] = {}
        rng = random.Random(seed ^ 0x5EED)
        self._drift = [(rng.uniform(40, 200), rng.uniform(0, 2 * math.pi), rng.uniform(0.02, 0.05)) for _ in range(3)]
        self._gain = rng.uniform(0.85, 1.08)
        self._switch_every_s = switch_every_s
        self._switching = random.Random(seed ^ 0x1A4B)
        self._switches_s = [0.0]

    def expose(self, canvas: NDArray[np.float32], at_s: float) -> NDArray[np.uint8]:
        """The image of a canvas, 0..255 RGB. The canvas is overwritten. [H, W, 3]"""
        height, width = canvas.shape[:2]
        canvas *= self._light(at_s)
        canvas += self._noise(at_s, width, height)
        np.clip(canvas, 0, 255, out=canvas)
        return canvas.astype(np.uint8)

    def _light(self, at_s: float) -> NDArray[np.float32]:
        waves = [depth * math.sin(2 * math.pi * at_s / period + phase) for period, phase, depth in self._drift]
        shared = self._gain + sum(waves)
        lamps = _LAMPS_OFF if self._is_dark(at_s) else _LAMPS_ON
        return np.array(
            [(shared + 0.3 * wave) * lamp for wave, lamp in zip(waves, lamps, strict=True)], dtype=np.float32
        )

    def _is_dark(self, at_s: float) -> bool:
        """Whether the lamps are off. They start on, and every switch toggles them."""
        if self._switch_every_s is None:
            return False
        while self._switches_s[-1] <= at_s:
            self._switches_s.append(self._switches_s[-1] + self._switching.expovariate(1 / self._switch_every_s))
        return bisect_right(self._switches_s, at_s) % 2 == 0

    def _noise(self, at_s: float, width: int, height: int) -> NDArray[np.float32]:
        """Sensor noise: a window of one larger noise image, at another offset for each time. [H, W, 3]"""
        if (width, height) not in self._grains:
            rng = np.random.default_rng([self._seed, 2])
            depth = max(1.2, _NOISE_DEPTH * math.sqrt(width * height / (FRAME_SIZE[0] * FRAME_SIZE[1])))
            bright = rng.normal(0, depth, (height + 32, width + 32, 1))
            tint = rng.normal(0, depth / 2, (height + 32, width + 32, 3))
            self._grains[width, height] = (bright + tint).astype(np.float32)
        top, left = divmod(hash(round(at_s * 1000)) * 2654435761 % 1024, 32)
        return self._grains[width, height][top : top + height, left : left + width]
