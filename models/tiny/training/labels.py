"""Labels of each cell of a clip's frames: what covers it, and what has just happened there.

They are targets of the auxiliary heads only, never an input of the model.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import COLOURS, KINDS, Visit

IGNORED = -100
CELLS = 4  # tokens of a square frame, each way
SQUARE = (CELLS, CELLS)
COMING, ENTERED, STAYING, LEFT = range(4)  # the progress of a visit, as of one frame
MAX_NUMBER = 6  # of a visit among its kind; later visits have this number too

_SLIVER, _COVERED = 0.02, 0.2  # shares of a cell


def label_cells(
    scene: Scene, times: Sequence[float], grid: tuple[int, int] = SQUARE
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Kind and colour (0 for none, IGNORED for a sliver) and centre of what covers a cell. [T, P, 2] each

    grid: rows and columns of the P cells.
    """
    cells = np.zeros((len(times), *grid, 2), dtype=np.int64)
    centres = np.full((len(times), *grid, 2), np.nan, dtype=np.float32)
    for index, at_s in enumerate(times):
        for visit, share in _shares(scene, at_s, grid):
            sliver, covered = (share > _SLIVER) & (share < _COVERED), share >= _COVERED
            cells[index][sliver & (cells[index][..., 0] == 0)] = IGNORED
            cells[index][covered] = (1 + KINDS.index(visit.kind), 1 + COLOURS.index(visit.colour))
            centres[index][covered] = visit.centre(at_s)
    return cells.reshape(len(times), -1, 2), centres.reshape(len(times), -1, 2)


def label_events(scene: Scene, times: Sequence[float], grid: tuple[int, int] = SQUARE) -> NDArray[np.int64]:
    """For each cell the progress of the visit that covers it and its number among its kind; and, equal in all cells of
    a frame, kind and colour of the visitor that left since the frame before, 0 for none. [T, P, 4]
    """
    events = np.full((len(times), *grid, 4), IGNORED, dtype=np.int64)
    visits, numbers = scene.visits(times[-1] + 2), dict[float, int]()
    for kind in KINDS:
        alike = [visit for visit in visits if visit.kind == kind]
        numbers |= {visit.enter_s: min(number, MAX_NUMBER) for number, visit in enumerate(alike)}
    before_s = 0.0
    for index, at_s in enumerate(times):
        for visit, share in _shares(scene, at_s, grid):
            progress = _progress(visit, before_s, at_s)
            events[index][share >= _COVERED, :2] = (progress, numbers[visit.enter_s])
        departed = [visit for visit in visits if before_s < visit.leave_s <= at_s]
        latest = max(departed, key=lambda visit: visit.leave_s, default=None)
        events[index][..., 2:] = (1 + KINDS.index(latest.kind), 1 + COLOURS.index(latest.colour)) if latest else (0, 0)
        before_s = at_s
    return events.reshape(len(times), -1, 4)


def _progress(visit: Visit, before_s: float, at_s: float) -> int:
    if at_s < visit.enter_s:
        return COMING
    if at_s >= visit.leave_s:
        return LEFT
    return ENTERED if visit.enter_s > before_s else STAYING


def _shares(scene: Scene, at_s: float, grid: tuple[int, int]) -> Iterator[tuple[Visit, NDArray[np.float64]]]:
    """Every visible visit, farthest first, and the share of each cell that it covers. [rows, columns]"""
    rows, columns = grid
    across_edges, down_edges = np.arange(columns + 1) / columns, np.arange(rows + 1) / rows
    for visit in scene.visible(at_s):
        left, top, right, bottom = visit.box(at_s)
        across = np.minimum(right, across_edges[1:]) - np.maximum(left, across_edges[:-1])
        down = np.minimum(bottom, down_edges[1:]) - np.maximum(top, down_edges[:-1])
        across, down = np.clip(across, 0, None) * columns, np.clip(down, 0, None) * rows
        yield visit, down[:, None] * across[None, :]
