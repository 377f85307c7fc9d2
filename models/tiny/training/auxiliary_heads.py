"""Auxiliary heads: they predict what is in view from the model's hidden states, in training only, and are not saved."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.tiny.network import TOKENS_PER_FRAME
from models.tiny.scenes.visits import COLOURS, KINDS
from models.tiny.training.labels import IGNORED, LEFT, MAX_NUMBER

_EVENT_DEPTH, _COUNT_DEPTH = 3, 4  # layers, of six, before the states that each pair of heads reads


class CellHead(nn.Module):
    """Predicts from each projected token what covers its cell, and where: trains the vision encoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = nn.Linear(width, 1 + len(KINDS))
        self.colour = nn.Linear(width, 1 + len(COLOURS))
        self.centre = nn.Linear(width, 2)
        self.cell = nn.Linear(width, TOKENS_PER_FRAME)

    def forward(self, tokens: Tensor, cells: Tensor, centres: Tensor) -> Tensor:
        """Mean loss. tokens [M, D]; cells: kind and colour of what covers each [M, 2]; centres of it [M, 2]. -> []"""
        own = torch.arange(len(tokens)) % TOKENS_PER_FRAME
        loss = functional.cross_entropy(self.kind(tokens).float(), cells[:, 0], ignore_index=IGNORED)
        loss = loss + functional.cross_entropy(self.colour(tokens).float(), cells[:, 1], ignore_index=IGNORED)
        loss = loss + 0.2 * functional.cross_entropy(self.cell(tokens).float(), own)
        covered = ~centres[:, 0].isnan()
        return loss + 4 * functional.l1_loss(self.centre(tokens[covered]).float(), centres[covered])


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
    """The cell head and the event head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = CellHead(width)
        self.events = EventHead(width)
