"""To which size a frame is reduced for a model. Loads no torch: ingest workers use it too."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MAX_ASPECT = 200  # of a picture; a wider or taller one is squeezed to it


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFit:
    """cell, max_cells, min_cells, side: as in FrameLayout."""

    cell: int
    max_cells: int
    min_cells: int = 1
    side: int | None = None

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that a frame of this size is reduced to: whole cells, as many as are allowed."""
        if self.side is not None:
            return self.side, self.side
        columns, rows = width / self.cell, height / self.cell
        if max(columns, rows) > _MAX_ASPECT * min(columns, rows):
            columns, rows = max(columns, rows / _MAX_ASPECT), max(rows, columns / _MAX_ASPECT)
        if (grow := max(1 / columns, 1 / rows, math.sqrt(self.min_cells / (columns * rows)))) > 1:
            columns, rows = max(1, math.ceil(columns * grow - 1e-6)), max(1, math.ceil(rows * grow - 1e-6))
        if round(columns) * round(rows) > self.max_cells:
            shrink = math.sqrt(self.max_cells / (columns * rows))
            columns, rows = max(1, math.floor(columns * shrink)), max(1, math.floor(rows * shrink))
        columns, rows = round(columns), round(rows)
        # A side of one cell is longer than its share of the area, and the other is longer than the cap then.
        return min(columns, self.max_cells) * self.cell, min(rows, self.max_cells) * self.cell

    def is_possible(self, width: int, height: int) -> bool:
        """Whether a reduced frame may have this size, so that it takes no more than the model has room for."""
        if self.side is not None:
            return (width, height) == (self.side, self.side)
        columns, rows = width // self.cell, height // self.cell
        is_whole = (columns * self.cell, rows * self.cell) == (width, height)
        return is_whole and min(columns, rows) >= 1 and columns * rows <= self.max_cells
