"""What benchmarks.picture_notes shows a camera: weather, light and traffic that are normal, and what is not."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models.tiny.scenes.scene import Scene
from pipeline.decoding.images import Pixels
from pipeline.picture_note import PictureNote

WIDTH, HEIGHT = 320, 180  # of a preview
_Canvas = NDArray[np.float32]
# From the street's picture to the camera's, at a time, with random numbers of this moment.
Change = Callable[[Pixels, float, np.random.Generator], Pixels]


@dataclass(frozen=True, slots=True)
class Fault:
    """A change of the picture, and the note that it must bring."""

    change: Change
    note: PictureNote


def _pixels(canvas: _Canvas) -> Pixels:
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, depth: float) -> _Canvas:
    return rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32) * np.float32(depth)


@functools.cache
def _glow(x: float, y: float, radius: float) -> _Canvas:
    """1 at a point, falling to 0 around it; all are fractions of the width."""
    columns, rows = np.meshgrid(np.arange(WIDTH) / WIDTH - x, (np.arange(HEIGHT) - HEIGHT * y) / WIDTH)
    glow: _Canvas = np.exp(-(columns**2 + rows**2) / (2 * radius**2)).astype(np.float32)[:, :, None]
    return glow


def day(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """As drawn."""
    return picture


def night(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """A fifth of the light, two street lamps, a noisy sensor."""
    light = 0.13 + 0.5 * _glow(0.25, 0.3, 0.15) + 0.4 * _glow(0.8, 0.4, 0.12)
    return _pixels(picture * light + 4 + _noise(rng, 6))


def dark_night(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """Hardly any light but a lamp far away."""
    return _pixels(picture * 0.04 + 250 * _glow(0.6, 0.3, 0.008) + _noise(rng, 3))


def dusk(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """From day to night within 20 minutes, and back, every hour."""
    share = 0.5 - 0.5 * math.cos(2 * math.pi * at_s / 3600)
    return _pixels((1 - share) * picture + share * night(picture, at_s, rng).astype(np.float32))


def infrared(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """The camera's own infrared lamp every other half hour: no colour, other contrasts, dark corners."""
    if at_s % 3600 < 1800:
        return picture
    grey = picture.astype(np.float32) @ np.array([1.1, -0.5, 0.3], np.float32)
    return _pixels(
        np.repeat((grey[:, :, None] + 20) * (0.25 + 1.1 * _glow(0.5, 0.5, 0.35)) + _noise(rng, 5), 3, axis=2)
    )


def rain(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """Streaks, less contrast."""
    canvas = 0.75 * picture.astype(np.float32) + 30
    for x, y in zip(rng.integers(0, WIDTH - 6, 400), rng.integers(0, HEIGHT - 20, 400), strict=True):
        canvas[y : y + 18, x : x + 1] += 45
    return _pixels(canvas)


def fog(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """Comes and goes within an hour; a third of the contrast is left."""
    share = 0.67 * (0.5 - 0.5 * math.cos(2 * math.pi * at_s / 3600))
    return _pixels((1 - share) * picture + share * 170)


def headlights(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """At night, every 40 s for 6 s, with glare over the whole picture."""
    lit = night(picture, at_s, rng)
    phase = at_s % 40
    if phase >= 6:
        return lit
    x = round(phase / 6, 1)
    return _pixels(lit + 400 * _glow(x, 0.6, 0.1) + 60 * _glow(x, 0.6, 0.5))


def bus(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """Every five minutes one stands for 75 s in front of nine tenths of the picture."""
    if at_s % 300 < 225:
        return picture
    canvas = picture.copy()
    number = int(at_s // 300)
    canvas[5:, 10:-10] = (200 - 20 * (number % 5), 40 + 30 * (number % 3), 60)
    canvas[30:80, 20:-20:40] = canvas[30:80, 21:-20:40] = (20, 25, 30)
    return _pixels(canvas + _noise(rng, 2))


def exposure(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """Another gain every two minutes, so that bright parts are cut off now and then."""
    gain = (1.0, 0.5, 1.6, 0.7, 2.2)[int(at_s // 120) % 5]
    return _pixels(gain * picture.astype(np.float32))


def wind(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    """The mast sways by two pixels of 640."""
    return np.roll(picture, (int(rng.integers(-1, 2)), int(rng.integers(-1, 2))), axis=(0, 1))


NORMAL: dict[str, Change] = {
    kind.__name__: kind for kind in (day, night, dark_night, dusk, infrared, rain, fog, headlights, bus, exposure, wind)
}


def _blurred(picture: Pixels, radius: float) -> Pixels:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def _clock(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """With a clock whose digits change."""
    canvas = picture.copy()
    canvas[4:14, 4:84] = 255 * (rng.random((10, 80, 1)) < 0.5)
    return canvas


def _flat(level: float, depth: float) -> Change:
    return lambda _, __, rng: _pixels(level + np.repeat(_noise(rng, depth), 3, axis=2))


def _cloth(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    return _pixels(np.repeat(25 + 20 * _glow(0.4, 0.2, 0.3) + _noise(rng, 4), 3, axis=2))


def _sprayed(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    return _pixels(0.5 * _blurred(picture, 12) + 0.5 * np.array([180, 30, 40], np.float32) + _noise(rng, 2))


def _out_of_focus(radius: float) -> Change:
    return lambda picture, _, rng: _pixels(_blurred(picture, radius) + _noise(rng, 1.5))


def _shifted(picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
    return np.roll(picture, (20, 60), axis=(0, 1))


class _Turned:
    """Another street, so many lines lower: all drawn streets have their kerbs and joints at the same height."""

    def __init__(self, seed: int, lower: int) -> None:
        self._scene = Scene(seed + 5_000, mean_gap_s=4.0)
        self._lower = lower

    def __call__(self, picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
        return np.roll(self._scene.frame(at_s, WIDTH, HEIGHT), self._lower, axis=0)


class _Frozen:
    """The first picture for ever, with a clock on request."""

    def __init__(self, *, has_clock: bool) -> None:
        self._picture: Pixels | None = None
        self._has_clock = has_clock

    def __call__(self, picture: Pixels, at_s: float, rng: np.random.Generator) -> Pixels:
        self._picture = picture if self._picture is None else self._picture
        return _clock(self._picture, rng) if self._has_clock else self._picture


def faults(seed: int) -> dict[str, Fault]:
    """What is wrong with a picture, by kind."""
    black, frozen, changed = PictureNote
    return {
        "covered, grey": Fault(_flat(120, 1.5), changed),
        "covered, dark cloth": Fault(_cloth, changed),
        "sprayed": Fault(_sprayed, changed),
        "turned": Fault(_Turned(seed, 36), changed),
        "turned, same horizon": Fault(_Turned(seed, 0), changed),
        "turned a little": Fault(_shifted, changed),
        "out of focus, radius 4": Fault(_out_of_focus(4), changed),
        "out of focus, radius 8": Fault(_out_of_focus(8), changed),
        "black": Fault(_flat(0, 0), black),
        "black, with noise and a clock": Fault(lambda *of: _clock(_flat(5, 4)(*of), of[2]), black),
        "frozen": Fault(_Frozen(has_clock=False), frozen),
        "frozen, with a clock": Fault(_Frozen(has_clock=True), frozen),
    }


def random_at(seed: int, kind: str, at_s: float) -> np.random.Generator:
    """Random numbers of one moment of one kind."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), round(at_s * 1000)])
