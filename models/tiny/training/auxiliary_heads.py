"""Readers that teach and are thrown away: each says of the model's inner states what a person sees there."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.tiny.network import TOKENS_PER_FRAME
from models.tiny.scenes.scene import COLOURS, KINDS
from models.tiny.training.labels import IGNORED, LEFT, MOST_NUMBERED

_HAPPENING_DEPTH, _COUNTING_DEPTH = 3, 4  # layers passed, of six


class CellHead(nn.Module):
    """Says of each projected token what covers its cell, and where: teaches vision."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = nn.Linear(width, 1 + len(KINDS))
        self.colour = nn.Linear(width, 1 + len(COLOURS))
        self.centre = nn.Linear(width, 2)
        self.cell = nn.Linear(width, TOKENS_PER_FRAME)

    def forward(self, tokens: Tensor, cells: Tensor, centres: Tensor) -> Tensor:
        """Mean loss of [M, D] tokens whose cells are covered by [M, 2] kind and colour, centred at [M, 2]."""
        own = torch.arange(len(tokens)) % TOKENS_PER_FRAME
        loss = functional.cross_entropy(self.kind(tokens).float(), cells[:, 0], ignore_index=IGNORED)
        loss = loss + functional.cross_entropy(self.colour(tokens).float(), cells[:, 1], ignore_index=IGNORED)
        loss = loss + 0.2 * functional.cross_entropy(self.cell(tokens).float(), own)
        covered = ~centres[:, 0].isnan()
        return loss + 4 * functional.l1_loss(self.centre(tokens[covered]).float(), centres[covered])


class EventHead(nn.Module):
    """Says of each video token inside the language model what has just happened: teaches events.

    Whether its visitor is coming, has entered, stays or has left; which of its kind it is; and who left
    since the frame before. Nothing that is over is asked of a later token, so the past stays where it was seen.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.progress = nn.Linear(width, 1 + LEFT)
        self.number = nn.Linear(width, 1 + MOST_NUMBERED)
        self.left_kind = nn.Linear(width, 1 + len(KINDS))
        self.left_colour = nn.Linear(width, 1 + len(COLOURS))

    def forward(self, states: Sequence[Tensor], events: Tensor) -> Tensor:
        """Mean loss of [M, D] tokens at each depth, before the first layer first, against [M, 4] events."""
        happening, counting = states[_HAPPENING_DEPTH], states[_COUNTING_DEPTH]
        read = (self.progress(happening), self.number(counting), self.left_kind(happening), self.left_colour(happening))
        losses = [
            functional.cross_entropy(logits.float(), events[:, column], ignore_index=IGNORED, reduction="sum")
            / (events[:, column] != IGNORED).sum().clamp(min=1)
            for column, logits in enumerate(read)
        ]
        return torch.stack(losses).sum()


class AuxiliaryHeads(nn.Module):
    """Both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = CellHead(width)
        self.events = EventHead(width)
