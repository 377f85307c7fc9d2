"""Paints the background of a camera: a wall with windows, a pavement, a road. One background per seed."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.tiny.scenes.drawings import Rgb, shade

_WALL_FOOT = 0.46
_KERB = 0.60

_WALLS: tuple[Rgb, ...] = (
    (128, 108, 94), (112, 116, 120), (136, 122, 96), (98, 108, 116), (120, 98, 90), (108, 114, 100),
)  # fmt: skip
_GLASS: tuple[Rgb, ...] = ((60, 74, 86), (78, 88, 96), (52, 58, 66), (134, 120, 88))
_PAVING: tuple[Rgb, ...] = ((138, 134, 126), (122, 122, 120), (130, 120, 108))
_ASPHALT: tuple[Rgb, ...] = ((82, 84, 88), (94, 92, 90), (74, 76, 82))
_LEAVES: tuple[Rgb, ...] = ((70, 84, 60), (82, 88, 62), (62, 76, 64))


class _Brush:
    """Draws at coordinates that are fractions of the image."""

    def __init__(self, width: int, height: int) -> None:
        self.canvas = Image.new("RGB", (width, height))
        self._draw = ImageDraw.Draw(self.canvas)
        self._size = (width, height)

    def slab(self, left: float, top: float, right: float, bottom: float, fill: Rgb) -> None:
        width, height = self._size
        far_x, far_y = max(left * width, right * width - 1), max(top * height, bottom * height - 1)
        self._draw.rectangle((left * width, top * height, far_x, far_y), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Rgb) -> None:
        width, height = self._size
        reach_x, reach_y = radius * width, radius * height * 16 / 9
        corners = (x * width - reach_x, y * height - reach_y, x * width + reach_x, y * height + reach_y)
        self._draw.ellipse(corners, fill=fill)

    def shape(self, points: list[tuple[float, float]], fill: Rgb) -> None:
        self._draw.polygon([(x * self._size[0], y * self._size[1]) for x, y in points], fill=fill)


def paint_backdrop(seed: int, width: int, height: int) -> NDArray[np.float32]:
    """The empty street, 0..255 RGB, the same scene for a seed at every size. [H, W, 3]"""
    rng = np.random.default_rng([seed, 1])
    finer = 4 if width <= 160 else 2
    brush = _Brush(width * finer, height * finer)
    _paint_wall(brush, rng)
    _paint_ground(brush, rng)
    _paint_street_furniture(brush, rng)
    image = np.asarray(brush.canvas.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
    lit: NDArray[np.float32] = np.clip(image * _soft_light(rng, width, height), 20, 215)
    return lit


def _pick(rng: np.random.Generator, choices: tuple[Rgb, ...]) -> Rgb:
    colour = choices[int(rng.integers(len(choices)))]
    return shade(colour, float(rng.uniform(0.85, 1.12)))


def _paint_wall(brush: _Brush, rng: np.random.Generator) -> None:
    wall, glass = _pick(rng, _WALLS), _pick(rng, _GLASS)
    brush.slab(0, 0, 1, _WALL_FOOT, wall)
    for row in np.arange(0.03, _WALL_FOOT, 0.03):
        brush.slab(0, row, 1, row + 0.004, shade(wall, 0.94))
    brush.slab(0, _WALL_FOOT - 0.05, 1, _WALL_FOOT, shade(wall, 0.72))
    columns = int(rng.integers(3, 7))
    doorway = int(rng.integers(columns))
    pane_w = float(rng.uniform(0.45, 0.62)) / columns
    for column in range(columns):
        left = (column + 0.5) / columns - pane_w / 2
        top, bottom = (0.16, _WALL_FOOT) if column == doorway else (0.08, 0.30)
        brush.slab(left - 0.008, top - 0.014, left + pane_w + 0.008, bottom, shade(wall, 1.22))
        brush.slab(left, top, left + pane_w, bottom - 0.012, shade(glass, 0.8 if column == doorway else 1.0))
        brush.shape([(left, top), (left + pane_w * 0.5, top), (left, top + 0.12)], shade(glass, 1.25))
        brush.slab(left + pane_w * 0.48, top, left + pane_w * 0.52, bottom - 0.012, shade(wall, 1.1))


def _paint_ground(brush: _Brush, rng: np.random.Generator) -> None:
    paving, asphalt = _pick(rng, _PAVING), _pick(rng, _ASPHALT)
    brush.slab(0, _WALL_FOOT, 1, _KERB, paving)
    for joint in np.arange(float(rng.uniform(0, 0.08)), 1.1, 0.08):
        foot = joint * 1.1 - 0.05
        slit = [(joint, _WALL_FOOT), (joint + 0.003, _WALL_FOOT), (foot + 0.003, _KERB), (foot, _KERB)]
        brush.shape(slit, shade(paving, 0.9))
    brush.slab(0, _KERB - 0.02, 1, _KERB, shade(paving, 1.2))
    brush.slab(0, _KERB, 1, 1, asphalt)
    brush.slab(0, _KERB, 1, _KERB + 0.02, shade(asphalt, 0.75))
    for dash in np.arange(float(rng.uniform(-0.2, 0)), 1.0, 0.24):
        brush.shape(
            [(dash, 0.80), (dash + 0.12, 0.80), (dash + 0.115, 0.815), (dash - 0.005, 0.815)],
            shade(asphalt, 1.7),
        )


def _paint_street_furniture(brush: _Brush, rng: np.random.Generator) -> None:
    if rng.random() < 0.6:
        x, leaves = float(rng.uniform(0.05, 0.95)), _pick(rng, _LEAVES)
        brush.slab(x - 0.008, 0.2, x + 0.008, _WALL_FOOT + 0.01, (84, 68, 54))
        for dx, dy, tone in ((-0.035, 0.16, 0.85), (0.035, 0.15, 0.95), (0.0, 0.09, 1.1), (0.0, 0.17, 1.0)):
            brush.disc(x + dx, dy, 0.055, shade(leaves, tone))
    if rng.random() < 0.6:
        x = float(rng.uniform(0.05, 0.95))
        brush.slab(x - 0.004, 0.02, x + 0.004, _WALL_FOOT + 0.02, (64, 66, 70))
        brush.slab(x - 0.03, 0.01, x + 0.004, 0.03, (84, 86, 90))


def _soft_light(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """A factor for each pixel: large soft patches of light and shade, and fine grain. [H, W, 1]"""
    light = np.ones((height, width), dtype=np.float32)
    for cells, depth in ((4, 0.14), (24, 0.05)):
        grid = Image.fromarray(rng.normal(0, depth, (cells, cells)).astype(np.float32))
        light += np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(light, 0.6, 1.3)[:, :, None]
