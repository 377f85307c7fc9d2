"""Masks an image and reduces it to the model's size and to a thumbnail, in the process that decodes it."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.cameras import Polygon
from pipeline.decoding.images import DecodedImage, ReducedImage, downscale_for, make_preview
from pipeline.decoding.privacy_masks import PrivacyMasks

Fit = Callable[[int, int], tuple[int, int]]  # width and height of an image to those that the model reads


class ImageReducer:
    """Reduces the images of one camera. Belongs to one thread."""

    def __init__(self, masks: tuple[Polygon, ...], fit: Fit, thumbnail_width: int) -> None:
        self._masks, self._fit, self._thumbnail_width = PrivacyMasks(masks), fit, thumbnail_width

    def reduce(self, image: DecodedImage) -> ReducedImage:
        """The image masked in black, in the model's size, with its thumbnail. A reduced image is returned as it is."""
        if isinstance(image, ReducedImage):
            return image
        masked = self._masks.apply(image)
        width, height = self._fit(masked.width, masked.height)
        view = downscale_for(masked, width, height, self._thumbnail_width)
        return ReducedImage(view.resize(height, width), make_preview(view, self._thumbnail_width))
