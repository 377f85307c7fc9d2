"""One forward of the tiny model over packed clips: loss, and which answers were right."""

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaOnevisionForConditionalGeneration

from models.tiny.network import PIXEL_MEAN, PIXEL_STD
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import NEWLINE, WINDOW_FRAMES, Batch
from models.tiny.training.labels import IGNORED

CELL_LOSS = 0.3
EVENT_LOSS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one batch showed."""

    loss: Tensor
    cell_loss: float
    event_loss: float
    right: dict[str, list[bool]]  # by type: whether every word of the answer was the likeliest


def see(model: LlavaOnevisionForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Projected tokens of each frame, without the newline at the end. [B, T, 64, 64, 3] -> [B, T * 16, D]"""
    normal = (pixels.permute(0, 1, 4, 2, 3).float() / 255 - PIXEL_MEAN) / PIXEL_STD
    tokens: Tensor = model.model.get_video_features(normal).pooler_output[:, :-1]
    return tokens


def packed_mask(batch: Batch) -> Tensor:
    """Who sees whom: what came before, in the same block or the video, kept or still new. [B, 1, S, S]"""
    block, frame = batch.block, batch.frame
    order = torch.arange(block.shape[1])
    is_context = (block == 0)[:, None, :] & (frame[:, None, :] <= frame[:, :, None])
    is_there = batch.is_kept[:, None, :] | (frame[:, :, None] - frame[:, None, :] < WINDOW_FRAMES)
    is_own = block[:, :, None] == block[:, None, :]
    mask = (order[:, None] >= order[None, :]) & ((is_context & is_there) | (is_own & (block != 0)[:, None, :]))
    return (mask | torch.eye(len(order), dtype=torch.bool))[:, None]


def embed(model: LlavaOnevisionForConditionalGeneration, batch: Batch, tokens: Tensor) -> Tensor:
    """The sequence's embeddings: words, newlines, and the video tokens that are there. [B, S, D]"""
    words = model.get_input_embeddings()(batch.text.clamp(min=0))
    words = torch.where((batch.text == NEWLINE)[..., None], model.model.image_newline, words)
    is_video = (batch.block == 0) & (batch.frame >= 0)
    rows, places = torch.nonzero(batch.video >= 0, as_tuple=True)
    words = words.to(tokens.dtype)
    words[is_video] = tokens[rows, batch.video[rows, places]]
    return words


def run_batch(model: LlavaOnevisionForConditionalGeneration, readers: AuxiliaryHeads, batch: Batch) -> Outcome:
    """Forward of one batch through vision, and through language where there are questions."""
    tokens = see(model, batch.pixels)
    cell_loss = readers.cells(tokens.flatten(0, 1), batch.cells.flatten(0, 2), batch.centres.flatten(0, 2))
    asked = batch.labels != IGNORED
    if not asked.any():
        return Outcome(cell_loss, cell_loss.item(), 0.0, {})
    read = model.model.language_model(
        inputs_embeds=embed(model, batch, tokens),
        attention_mask={"full_attention": packed_mask(batch)},
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    is_video, there = (batch.block == 0) & (batch.frame >= 0), batch.video >= 0
    events = batch.events.flatten(1, 2)[there.nonzero()[:, 0], batch.video[there]]
    event_loss = readers.events([states[is_video] for states in read.hidden_states], events)
    logits = model.lm_head(read.last_hidden_state[asked]).float()
    losses = functional.cross_entropy(logits, batch.labels[asked], reduction="none")
    weights = batch.weights[asked]
    loss = (losses * weights).sum() / weights.sum()
    is_right = torch.zeros_like(asked)
    is_right[asked] = logits.argmax(-1) == batch.labels[asked]
    right = _right_by_type(batch, is_right | ~asked)
    return Outcome(loss + CELL_LOSS * cell_loss + EVENT_LOSS * event_loss, cell_loss.item(), event_loss.item(), right)


def _right_by_type(batch: Batch, is_fine: Tensor) -> dict[str, list[bool]]:
    right: dict[str, list[bool]] = defaultdict(list)
    for row, types in enumerate(batch.types):
        wrong = set(batch.block[row][~is_fine[row]].tolist())
        for number, type_ in enumerate(types, start=1):
            right[type_].append(number not in wrong)
    return right
