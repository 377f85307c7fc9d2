"""One forward pass of the tiny model over a packed batch: the loss, and which answers are right."""

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
    """The losses of one batch, and its right answers."""

    loss: Tensor
    cell_loss: float
    event_loss: float
    right: dict[str, list[bool]]  # by type: whether each token of the answer is the most likely


def embed_video(model: LlavaOnevisionForConditionalGeneration, pixels: Tensor) -> Tensor:
    """The projected tokens of all frames, without the newline at the end. [B, T, 64, 64, 3] -> [B, T * 16, D]"""
    normal = (pixels.permute(0, 1, 4, 2, 3).float() / 255 - PIXEL_MEAN) / PIXEL_STD
    tokens: Tensor = model.model.get_video_features(normal).pooler_output[:, :-1]
    return tokens


def packed_mask(batch: Batch) -> Tensor:
    """Whether a token (row) attends to another: an earlier one of its own block, or a video token not evicted by then.

    [B, 1, S, S]
    """
    block, frame = batch.block, batch.frame
    order = torch.arange(block.shape[1])
    is_context = (block == 0)[:, None, :] & (frame[:, None, :] <= frame[:, :, None])
    is_cached = batch.is_kept[:, None, :] | (frame[:, :, None] - frame[:, None, :] < WINDOW_FRAMES)
    is_own = block[:, :, None] == block[:, None, :]
    mask = (order[:, None] >= order[None, :]) & ((is_context & is_cached) | (is_own & (block != 0)[:, None, :]))
    return (mask | torch.eye(len(order), dtype=torch.bool))[:, None]


def embed(model: LlavaOnevisionForConditionalGeneration, batch: Batch, tokens: Tensor) -> Tensor:
    """The embeddings of the sequence: text, newlines and video tokens. [B, S, D]"""
    embedded = model.get_input_embeddings()(batch.text.clamp(min=0))
    embedded = torch.where((batch.text == NEWLINE)[..., None], model.model.image_newline, embedded)
    is_video = (batch.block == 0) & (batch.frame >= 0)
    rows, columns = torch.nonzero(batch.video >= 0, as_tuple=True)
    embedded = embedded.to(tokens.dtype)
    embedded[is_video] = tokens[rows, batch.video[rows, columns]]
    return embedded


def run_batch(model: LlavaOnevisionForConditionalGeneration, heads: AuxiliaryHeads, batch: Batch) -> Outcome:
    """Runs one batch through the vision encoder and, if it has questions, through the decoder."""
    tokens = embed_video(model, batch.pixels)
    cell_loss = heads.cells(tokens.flatten(0, 1), batch.cells.flatten(0, 2), batch.centres.flatten(0, 2))
    is_label = batch.labels != IGNORED
    if not is_label.any():
        return Outcome(cell_loss, cell_loss.item(), 0.0, {})
    output = model.model.language_model(
        inputs_embeds=embed(model, batch, tokens),
        attention_mask={"full_attention": packed_mask(batch)},
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    is_video, is_token = (batch.block == 0) & (batch.frame >= 0), batch.video >= 0
    events = batch.events.flatten(1, 2)[is_token.nonzero()[:, 0], batch.video[is_token]]
    event_loss = heads.events([states[is_video] for states in output.hidden_states], events)
    logits = model.lm_head(output.last_hidden_state[is_label]).float()
    losses = functional.cross_entropy(logits, batch.labels[is_label], reduction="none")
    weights = batch.weights[is_label]
    loss = (losses * weights).sum() / weights.sum()
    is_right = torch.zeros_like(is_label)
    is_right[is_label] = logits.argmax(-1) == batch.labels[is_label]
    right = _right_by_type(batch, is_right | ~is_label)
    return Outcome(loss + CELL_LOSS * cell_loss + EVENT_LOSS * event_loss, cell_loss.item(), event_loss.item(), right)


def _right_by_type(batch: Batch, is_ok: Tensor) -> dict[str, list[bool]]:
    right: dict[str, list[bool]] = defaultdict(list)
    for row, types in enumerate(batch.types):
        wrong = set(batch.block[row][~is_ok[row]].tolist())
        for number, type_ in enumerate(types, start=1):
            right[type_].append(number not in wrong)
    return right
