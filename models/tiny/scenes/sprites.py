"""Sprites of the visitors by kind, colour, direction and pose, pasted over a frame of any size."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models.tiny.scenes.drawings import DETAIL, DRAW, MARGIN, SIZES, Pen, Rgb

FRAME_SIZE = (640, 360)  # sprite sizes are in pixels of a frame of this size

PAINT: dict[str, Rgb] = {
    "red": (214, 44, 38),
    "green": (36, 158, 72),
    "blue": (42, 88, 216),
    "yellow": (246, 204, 36),
    "purple": (146, 58, 186),
    "white": (242, 242, 244),
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a visitor looks at one time. Poses: 0 standing, 1 and 2 two strides."""

    kind: str
    colour: str
    is_facing_left: bool
    pose: int


def _light_from_above(sprite: Image.Image) -> Image.Image:
    pixels = np.asarray(sprite).astype(np.float32)
    fall = np.linspace(1.1, 0.84, pixels.shape[0], dtype=np.float32)[:, None, None]
    pixels[..., :3] = np.clip(pixels[..., :3] * fall, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def _shadow(width: int, height: int) -> Image.Image:
    pen = Pen(width, height)
    pen.disc(width / 2, height - 2, width * 0.5, (0, 0, 0), 7)
    blurred = pen.canvas.filter(ImageFilter.GaussianBlur(3 * DETAIL))
    blurred.putalpha(blurred.getchannel("A").point(lambda alpha: alpha * 0.5))
    return blurred


@lru_cache(maxsize=512)
def _master(look: Look) -> Image.Image:
    pen = Pen(*SIZES[look.kind])
    DRAW[look.kind](pen, PAINT[look.colour], look.pose)
    sprite = Image.alpha_composite(_shadow(*SIZES[look.kind]), _light_from_above(pen.canvas))
    if look.is_facing_left:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return sprite.convert("RGBa")


@lru_cache(maxsize=20_000)
def _cut_out(look: Look, *, pixels_per_unit: tuple[float, float], phase: tuple[float, float]) -> NDArray[np.float32]:
    """The sprite with its alpha already multiplied in, 0..255, [h, w, 4].

    pixels_per_unit: target pixels per pixel of the 640 x 360 frame, in x and y. phase: offset of the sprite inside its
    first target pixel, in x and y. Every side has one pixel of border for the shadow.
    """
    (width, height), (scale_x, scale_y), (phase_x, phase_y) = SIZES[look.kind], pixels_per_unit, phase
    columns, rows = int(np.ceil(width * scale_x + phase_x)) + 2, int(np.ceil(height * scale_y + phase_y)) + 2
    left, top = MARGIN - (1 + phase_x) / scale_x, MARGIN - (1 + phase_y) / scale_y
    edges = (left, top, left + columns / scale_x, top + rows / scale_y)
    master = _master(look)
    region = _inside(tuple(edge * DETAIL for edge in edges), master.size)
    resized = master.resize((columns, rows), Image.Resampling.BICUBIC, box=region, reducing_gap=3.0)
    return np.asarray(resized, dtype=np.float32)


def _inside(region: tuple[float, ...], size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = region
    return max(0.0, left), max(0.0, top), min(float(size[0]), right), min(float(size[1]), bottom)


def paste(canvas: NDArray[np.float32], look: Look, *, left: float, top: float, scale: float) -> None:
    """Pastes the sprite over a canvas [H, W, 3], in place, with its corner at fractions of the frame.

    A scale of 1 is the sprite's size in a 640 x 360 frame. In small frames the position is rounded to a quarter pixel.
    """
    height, width = canvas.shape[:2]
    steps = 4 if width < 200 else 1
    x, y = round(left * width * steps) / steps, round(top * height * steps) / steps
    sprite = _cut_out(
        look,
        pixels_per_unit=(scale * width / FRAME_SIZE[0], scale * height / FRAME_SIZE[1]),
        phase=(x - math.floor(x), y - math.floor(y)),
    )
    column, row = math.floor(x) - 1, math.floor(y) - 1
    first_x, first_y = max(0, -column), max(0, -row)
    last_x, last_y = min(sprite.shape[1], width - column), min(sprite.shape[0], height - row)
    if first_x >= last_x or first_y >= last_y:
        return
    part = sprite[first_y:last_y, first_x:last_x]
    target = canvas[row + first_y : row + last_y, column + first_x : column + last_x]
    target *= 1 - part[..., 3:] / 255
    target += part[..., :3]
