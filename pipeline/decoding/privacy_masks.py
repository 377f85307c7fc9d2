"""Privacy masks: parts of an image that are blacked out before it is used, whichever decoder it comes from."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.cameras import Polygon
from pipeline.decoding.images import ArrayImage, DecodedImage

# Chroma is stored for two pixels each way and interpolated into the neighbouring pixels when an image is decoded.
MARGIN = 2


class PrivacyMasks:
    """The masks of one camera, for images of any size."""

    def __init__(self, polygons: tuple[Polygon, ...]) -> None:
        """polygons: corners in 0..1 of the upright image's width and height."""
        self._polygons = polygons
        self._visible = torch.zeros(0, 0, 3, dtype=torch.uint8)  # 1 where no mask is, else 0; of the last image's size

    def apply(self, image: DecodedImage) -> DecodedImage:
        """The image with the masks in black; the same object if there are no masks."""
        if not self._polygons:
            return image
        pixels = image.to_rgb()
        if self._visible.shape != pixels.shape or self._visible.device != pixels.device:
            visible = ~hidden_pixels(self._polygons, *pixels.shape[:2])
            self._visible = visible[..., None].expand(pixels.shape).to(pixels.device, torch.uint8).contiguous()
        return ArrayImage(pixels * self._visible)


def hidden_pixels(polygons: tuple[Polygon, ...], height: int, width: int) -> Tensor:
    """Every pixel that a polygon touches, and a margin of MARGIN pixels around it. bool [height, width]"""
    touched = torch.zeros(height, width, dtype=torch.bool)
    for polygon in polygons:
        corners = torch.tensor(polygon, dtype=torch.float64) * torch.tensor([width, height])
        is_inside = torch.zeros_like(touched)
        for start, end in itertools.pairwise([*corners, corners[0]]):
            is_inside ^= _is_left_of(start, end, height, width)
            _draw_edge(touched, start, end)
        touched |= is_inside
    dilated = F.max_pool2d(touched[None, None].float(), 2 * MARGIN + 1, stride=1, padding=MARGIN)
    return dilated[0, 0] > 0


def _is_left_of(start: Tensor, end: Tensor, height: int, width: int) -> Tensor:
    """The pixels from whose centre a ray to the right crosses this edge; from inside, an odd number of edges."""
    across, down = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    is_beside = (start[1] > down) != (end[1] > down)
    crossing = start[0] + (down - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
    return is_beside & (across < crossing)


def _draw_edge(touched: Tensor, start: Tensor, end: Tensor) -> None:
    """Marks the pixels along an edge, because a polygon may be too thin to contain the centre of any."""
    height, width = touched.shape
    steps = int((end - start).abs().max() * 2) + 2
    points = torch.lerp(start, end, torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]).long()
    touched[points[:, 1].clamp(max=height - 1), points[:, 0].clamp(max=width - 1)] = True
