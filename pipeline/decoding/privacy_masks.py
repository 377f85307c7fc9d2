"""Parts of the picture that nobody may see: blacked out before anything else becomes of it, whoever decoded it."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.cameras import Polygon
from pipeline.decoding.images import ArrayImage, DecodedImage

# Colours are stored for two pixels each way, and spread to their neighbours when a picture is decoded.
MARGIN = 2


class PrivacyMasks:
    """The masks of one camera, whatever the size of its pictures."""

    def __init__(self, polygons: tuple[Polygon, ...]) -> None:
        """Corners in 0..1 of the upright picture's width and height."""
        self._polygons = polygons
        self._shown = torch.zeros(0, 0, 3, dtype=torch.uint8)  # 1 where nothing is hidden, 0 elsewhere

    def apply(self, picture: DecodedImage) -> DecodedImage:
        """The picture with the masks in black; the same one if there are none."""
        if not self._polygons:
            return picture
        pixels = picture.to_rgb()
        if self._shown.shape != pixels.shape or self._shown.device != pixels.device:
            shown = ~hidden_pixels(self._polygons, *pixels.shape[:2])
            self._shown = shown[..., None].expand(pixels.shape).to(pixels.device, torch.uint8).contiguous()
        return ArrayImage(pixels * self._shown)


def hidden_pixels(polygons: tuple[Polygon, ...], height: int, width: int) -> Tensor:
    """Every pixel that a polygon touches, and MARGIN more around it. bool [height, width]"""
    touched = torch.zeros(height, width, dtype=torch.bool)
    for polygon in polygons:
        corners = torch.tensor(polygon, dtype=torch.float64) * torch.tensor([width, height])
        inside = torch.zeros_like(touched)
        for start, end in itertools.pairwise([*corners, corners[0]]):
            inside ^= _is_left_of(start, end, height, width)
            _draw(touched, start, end)
        touched |= inside
    spread = F.max_pool2d(touched[None, None].float(), 2 * MARGIN + 1, stride=1, padding=MARGIN)
    return spread[0, 0] > 0


def _is_left_of(start: Tensor, end: Tensor, height: int, width: int) -> Tensor:
    """From which pixels' centres a ray to the right crosses this side: from within, an odd number of them."""
    across, down = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    is_beside = (start[1] > down) != (end[1] > down)
    crossing = start[0] + (down - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
    return is_beside & (across < crossing)


def _draw(touched: Tensor, start: Tensor, end: Tensor) -> None:
    """Marks the pixels along a side: a polygon may be too thin to hold any centre."""
    height, width = touched.shape
    steps = int((end - start).abs().max() * 2) + 2
    points = torch.lerp(start, end, torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]).long()
    touched[points[:, 1].clamp(max=height - 1), points[:, 0].clamp(max=width - 1)] = True
