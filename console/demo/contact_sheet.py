"""One picture of what all cameras show: their current frames side by side, with names and the time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 2
_LABEL_HEIGHT = 28
_FONT_SIZE = 18


def write(images: Mapping[str, NDArray[np.uint8]], time_s: float, path: Path) -> None:
    """Writes RGB images [H, W, 3] of one size, by camera, as one JPEG. A viewer never sees half of a file."""
    height, width = next(iter(images.values())).shape[:2]
    rows = -(-len(images) // _COLUMNS)
    sheet = Image.new("RGB", (width * _COLUMNS, (height + _LABEL_HEIGHT) * rows), "black")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    clock = time.strftime("%H:%M:%S", time.localtime(time_s))
    for index, (name, image) in enumerate(images.items()):
        left, top = index % _COLUMNS * width, index // _COLUMNS * (height + _LABEL_HEIGHT)
        draw.text((left + 6, top + 3), f"{name}  {clock}", fill="white", font=font)
        sheet.paste(Image.fromarray(image), (left, top + _LABEL_HEIGHT))
    partial = path.with_suffix(".part")
    sheet.save(partial, "JPEG", quality=85)
    partial.replace(path)
