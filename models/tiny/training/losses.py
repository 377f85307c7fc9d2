"""One forward pass of a tiny model over a packed batch: its losses, and which answers are right."""

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from models.tiny.training.architecture import Architecture
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import Batch
from models.tiny.training.labels import IGNORED

_CELL_LOSS = 0.3
_EVENT_LOSS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """The losses of one batch, and its right answers."""

    loss: Tensor
    cell_loss: float
    event_loss: float
    right: dict[str, list[bool]]  # by type: whether each token of the answer is the most likely


def run_batch(architecture: Architecture, network: PreTrainedModel, heads: AuxiliaryHeads, batch: Batch) -> Outcome:
    """Runs one batch through the vision encoder and, if it has questions, through the decoder."""
    video = architecture.embed_video(network, batch.pixels)
    cells, centres = batch.cells.flatten(0, 2), batch.centres.flatten(0, 2)
    cell_loss = heads.cells(video.embedded.flatten(0, 1), cells, centres, batch.grid)
    is_label = batch.labels != IGNORED
    if not is_label.any():
        return Outcome(cell_loss, cell_loss.item(), 0.0, {})
    last, states = architecture.hidden_states(network, batch, video)
    is_video = batch.video >= 0
    events = batch.events.flatten(1, 2)[is_video.nonzero()[:, 0], batch.video[is_video]]
    event_loss = heads.events([layer[is_video] for layer in states], events)
    logits = network.lm_head(last[is_label]).float()
    losses = functional.cross_entropy(logits, batch.labels[is_label], reduction="none")
    weights = batch.weights[is_label]
    loss = (losses * weights).sum() / weights.sum()
    is_right = torch.zeros_like(is_label)
    is_right[is_label] = logits.argmax(-1) == batch.labels[is_label]
    right = _right_by_type(batch, is_right | ~is_label)
    return Outcome(loss + _CELL_LOSS * cell_loss + _EVENT_LOSS * event_loss, cell_loss.item(), event_loss.item(), right)


def _right_by_type(batch: Batch, is_ok: Tensor) -> dict[str, list[bool]]:
    right: dict[str, list[bool]] = defaultdict(list)
    for row, types in enumerate(batch.types):
        wrong = set(batch.block[row][~is_ok[row]].tolist())
        for number, type_ in enumerate(types, start=1):
            right[type_].append(number not in wrong)
    return right
