"""Auxiliary heads: they predict what is in view from the model's hidden states, in training only, and are not saved."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.tiny.scenes.visits import COLOURS, KINDS
from models.tiny.training.architecture import Grid
from models.tiny.training.labels import IGNORED, LEFT, MAX_NUMBER

_EVENT_DEPTH, _COUNT_DEPTH = 3, 4  # layers, of six, before the states that each pair of heads reads


class CellHead(nn.Module):
    """Predicts from each projected token what covers its cell, and where: trains the vision encoder."""

    def __init__(self, width: int, frames: int, grids: Sequence[Grid]) -> None:
        super().__init__()
        self._frames = frames
        sizes = [rows * columns for rows, columns in grids]
        self._first = dict(zip(grids, accumulate(sizes, initial=0), strict=False))  # of the classes of a grid's cells
        self.kind = nn.Linear(width, frames * (1 + len(KINDS)))
        self.colour = nn.Linear(width, frames * (1 + len(COLOURS)))
        self.centre = nn.Linear(width, frames * 2)
        self.cell = nn.Linear(width, sum(sizes))

    def forward(self, tokens: Tensor, cells: Tensor, centres: Tensor, grid: Grid) -> Tensor:
        """Mean loss. tokens [M, D], whole grids; for each frame of its group kind and colour of what covers each cell
        [M, F, 2] and the centre of it [M, F, 2]. -> []
        """
        own = self._first[grid] + torch.arange(len(tokens)) % (grid[0] * grid[1])
        kinds, colours, guessed = (
            head(tokens).float().view(len(tokens) * self._frames, -1) for head in (self.kind, self.colour, self.centre)
        )
        cells, centres = cells.flatten(0, 1), centres.flatten(0, 1)
        loss = functional.cross_entropy(kinds, cells[:, 0], ignore_index=IGNORED)
        loss = loss + functional.cross_entropy(colours, cells[:, 1], ignore_index=IGNORED)
        loss = loss + 0.2 * functional.cross_entropy(self.cell(tokens).float(), own)
        covered = ~centres[:, 0].isnan()
        return loss + 4 * functional.l1_loss(guessed[covered], centres[covered])


class EventHead(nn.Module):
    """Predicts from each video token's hidden states what has just happened: trains the decoder on events.

    The progress of the visit that covers the cell, its number among its kind, and which visitor left since the frame
    before. No later token has to predict a past event, so each event stays in the tokens of its own frames.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.progress = nn.Linear(width, 1 + LEFT)
        self.number = nn.Linear(width, 1 + MAX_NUMBER)
        self.left_kind = nn.Linear(width, 1 + len(KINDS))
        self.left_colour = nn.Linear(width, 1 + len(COLOURS))

    def forward(self, states: Sequence[Tensor], events: Tensor) -> Tensor:
        """Mean loss. states: [M, D] before the first layer and after each; events: [M, 4]. -> []"""
        early, late = states[_EVENT_DEPTH], states[_COUNT_DEPTH]
        predicted = (self.progress(early), self.number(late), self.left_kind(early), self.left_colour(early))
        losses = [
            functional.cross_entropy(logits.float(), events[:, column], ignore_index=IGNORED, reduction="sum")
            / (events[:, column] != IGNORED).sum().clamp(min=1)
            for column, logits in enumerate(predicted)
        ]
        return torch.stack(losses).sum()


class AuxiliaryHeads(nn.Module):
    """The cell head and the event head. frames: of a group."""

    def __init__(self, width: int, frames: int, grids: Sequence[Grid]) -> None:
        super().__init__()
        self.cells = CellHead(width, frames, grids)
        self.events = EventHead(width)
