"""Draws each kind of visitor, facing right, in pixels of a 640 x 360 frame, four times larger."""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
_Points = Sequence[tuple[float, float]]

DETAIL = 4  # pixels drawn for each pixel of the 640 x 360 frame
MARGIN = 24  # transparent border, so that a sprite can be cut out half a target pixel too wide

SIZES: dict[str, tuple[int, int]] = {
    "person": (80, 152),
    "car": (204, 96),
    "bike": (146, 134),
    "dog": (124, 88),
    "box": (108, 108),
    "truck": (240, 140),
}

_RUBBER: Rgb = (28, 28, 32)
_METAL: Rgb = (150, 152, 158)
_GLASS: Rgb = (58, 78, 96)
_SKIN: Rgb = (226, 178, 142)
_HAIR: Rgb = (62, 44, 34)


def shade(colour: Rgb, factor: float) -> Rgb:
    """The colour made darker (factor below 1) or lighter."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


class Pen:
    """Draws at coordinates of the 640 x 360 frame on a canvas with DETAIL times the resolution."""

    def __init__(self, width: int, height: int) -> None:
        size = ((width + 2 * MARGIN) * DETAIL, (height + 2 * MARGIN) * DETAIL)
        self.canvas = Image.new("RGBA", size, (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.canvas)

    def _scaled(self, points: _Points) -> list[tuple[float, float]]:
        return [((x + MARGIN) * DETAIL, (y + MARGIN) * DETAIL) for x, y in points]

    def disc(self, x: float, y: float, radius_x: float, fill: Rgb, radius_y: float | None = None) -> None:
        height = radius_x if radius_y is None else radius_y
        self._draw.ellipse(self._scaled([(x - radius_x, y - height), (x + radius_x, y + height)]), fill=fill)

    def ring(self, x: float, y: float, radius: float, width: float, fill: Rgb) -> None:
        corners = self._scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.ellipse(corners, outline=fill, width=int(width * DETAIL))

    def slab(self, left: float, top: float, right: float, bottom: float, fill: Rgb, round_by: float = 0) -> None:
        corners = self._scaled([(left, top), (right, bottom)])
        self._draw.rounded_rectangle(corners, radius=round_by * DETAIL, fill=fill)

    def shape(self, points: _Points, fill: Rgb) -> None:
        self._draw.polygon(self._scaled(points), fill=fill)

    def limb(self, points: _Points, width: float, fill: Rgb) -> None:
        self._draw.line(self._scaled(points), fill=fill, width=int(width * DETAIL), joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, fill)

    def wheel(self, x: float, y: float, radius: float) -> None:
        self.disc(x, y, radius, _RUBBER)
        self.disc(x, y, radius * 0.55, _METAL)
        self.disc(x, y, radius * 0.2, _RUBBER)


def _draw_person(pen: Pen, paint: Rgb, pose: int) -> None:
    stride = (4, 16, -12)[pose]
    trousers = shade(paint, 0.5)
    for foot_x, tone in ((40 - stride, 0.8), (40 + stride, 1.0)):
        pen.limb([(40, 92), (foot_x, 142)], 16, shade(trousers, tone))
        pen.slab(foot_x - 8, 140, foot_x + 13, 151, _RUBBER, 4)
    pen.limb([(26, 50), (18 - stride * 0.6, 92)], 13, shade(paint, 0.75))
    pen.slab(17, 38, 63, 110, paint, 14)
    pen.limb([(54, 50), (60 + stride * 0.6, 92)], 13, shade(paint, 0.85))
    pen.disc(60 + stride * 0.6, 95, 6, _SKIN)
    pen.slab(34, 30, 47, 44, shade(_SKIN, 0.85))
    pen.disc(41, 20, 17, _HAIR, 19)
    pen.disc(45, 23, 13, _SKIN, 14)


def _draw_car(pen: Pen, paint: Rgb, pose: int) -> None:
    pen.shape([(36, 48), (66, 8), (140, 8), (176, 48)], shade(paint, 0.9))
    pen.shape([(52, 46), (72, 15), (100, 15), (100, 46)], _GLASS)
    pen.shape([(107, 46), (107, 15), (136, 15), (160, 46)], _GLASS)
    pen.shape([(60, 42), (76, 17), (84, 17), (68, 42)], shade(_GLASS, 1.5))
    pen.slab(2, 42, 202, 80, paint, 14)
    pen.slab(2, 66, 202, 82, shade(paint, 0.72), 8)
    pen.slab(102, 46, 105, 76, shade(paint, 0.7))
    pen.slab(110, 52, 124, 56, shade(paint, 0.6), 2)
    pen.disc(195, 54, 6, (255, 244, 200))
    pen.slab(2, 50, 8, 60, (150, 20, 24), 2)
    for x in (46, 156):
        pen.disc(x, 78, 21, shade(paint, 0.4))
        pen.wheel(x, 78, 17)


def _draw_truck(pen: Pen, paint: Rgb, pose: int) -> None:
    pen.slab(4, 104, 236, 116, (52, 54, 60), 3)
    pen.slab(2, 4, 158, 106, paint, 4)
    pen.slab(2, 4, 158, 14, shade(paint, 1.15), 4)
    for x in range(28, 150, 26):
        pen.slab(x, 16, x + 3, 104, shade(paint, 0.8))
    pen.shape([(164, 34), (210, 34), (236, 72), (236, 112), (164, 112)], shade(paint, 0.86))
    pen.shape([(184, 42), (207, 42), (226, 72), (184, 72)], _GLASS)
    pen.shape([(190, 68), (198, 44), (204, 44), (196, 68)], shade(_GLASS, 1.5))
    pen.disc(232, 94, 5, (255, 244, 200))
    for x in (36, 82, 200):
        pen.wheel(x, 118, 20)


def _draw_bike(pen: Pen, paint: Rgb, pose: int) -> None:
    for x in (32, 114):
        pen.ring(x, 102, 30, 7, _RUBBER)
        pen.ring(x, 102, 22, 3, _METAL)
        pen.disc(x, 102, 5, _METAL)
    knee_x = (74, 84, 66)[pose]
    for points in (
        [(32, 102), (52, 70), (98, 70), (72, 104), (32, 102)],
        [(52, 70), (72, 104)],
        [(114, 102), (96, 62)],
    ):
        pen.limb(points, 8, shade(paint, 0.85))
    pen.limb([(94, 60), (106, 56)], 6, _RUBBER)
    pen.limb([(52, 62), (knee_x, 80), (72, 108)], 14, shade(paint, 0.5))
    pen.limb([(54, 56), (78, 30)], 30, paint)
    pen.limb([(78, 34), (102, 56)], 10, shade(paint, 0.8))
    pen.disc(92, 16, 12, _SKIN, 13)
    pen.slab(77, 1, 105, 14, paint, 7)


def _draw_dog(pen: Pen, paint: Rgb, pose: int) -> None:
    stride = (0, 9, -7)[pose]
    pen.limb([(24, 34), (6, 12)], 9, shade(paint, 0.9))
    for x, sign, tone in ((34, -1, 0.65), (84, 1, 0.65), (26, 1, 0.85), (76, -1, 0.85)):
        pen.limb([(x, 48), (x + sign * stride, 80)], 12, shade(paint, tone))
    pen.slab(16, 24, 92, 60, paint, 18)
    pen.limb([(84, 36), (96, 22)], 22, paint)
    pen.disc(98, 20, 17, paint)
    pen.slab(100, 18, 122, 33, shade(paint, 0.92), 7)
    pen.disc(119, 21, 4, _RUBBER)
    pen.disc(103, 15, 3, _RUBBER)
    pen.shape([(84, 8), (94, 4), (92, 28), (84, 30)], shade(paint, 0.6))
    pen.limb([(80, 36), (92, 44)], 6, (60, 52, 46))


def _draw_box(pen: Pen, paint: Rgb, pose: int) -> None:
    for x in (20, 46, 72):
        pen.wheel(x, 98, 9)
    pen.shape([(4, 28), (24, 6), (104, 6), (84, 28)], shade(paint, 1.15))
    pen.shape([(84, 28), (104, 6), (104, 74), (84, 94)], shade(paint, 0.68))
    pen.slab(4, 28, 84, 94, paint)
    pen.slab(38, 28, 50, 94, (202, 172, 122))
    pen.shape([(38, 28), (56, 6), (68, 6), (50, 28)], (222, 194, 146))
    pen.slab(58, 66, 78, 84, (236, 236, 230))
    pen.slab(61, 71, 75, 73, (90, 90, 90))
    pen.slab(61, 77, 71, 79, (90, 90, 90))


DRAW: dict[str, Callable[[Pen, Rgb, int], None]] = {
    "person": _draw_person,
    "car": _draw_car,
    "bike": _draw_bike,
    "dog": _draw_dog,
    "box": _draw_box,
    "truck": _draw_truck,
}
