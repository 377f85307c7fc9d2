"""From frames to what a memory appends: encoded cells with text between them, without what is not admitted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.embeddings import Embeddings
from models.frame_layout import FrameTokens
from models.vision_language_model import VideoLanguageModel


@dataclass(frozen=True, slots=True)
class EncodedFrames:
    """The cells of a step of frames of B cameras, encoded. cells: [B, G · R · C, E]"""

    cells: Embeddings
    rows: int
    columns: int

    def part(self, row: int, is_chosen: Tensor) -> EncodedFrames:
        """The chosen groups of one camera of the batch. bool [G]"""
        num_groups = len(is_chosen)
        chosen = self.cells.map(
            lambda cells: torch.unflatten(cells[row], 0, (num_groups, -1))[is_chosen].flatten(0, 1)[None]
        )
        return EncodedFrames(chosen, self.rows, self.columns)


@dataclass(frozen=True, slots=True)
class Step:
    """What one memory appends: its tokens, and what the decoder reads of them. [T], [T, E]"""

    tokens: FrameTokens
    embeddings: Embeddings


def encode(model: VideoLanguageModel, frames: Tensor) -> EncodedFrames:
    """Runs the vision encoder over frames of B cameras in one batch. uint8 RGB [B, F, H, W, 3]"""
    layout = model.spec.layout
    groups = layout.group(frames)
    encoded = model.embed_frames(groups.flatten(0, 1))
    rows, columns = layout.grid(frames.shape[3], frames.shape[2])
    return EncodedFrames(encoded.map(lambda cells: cells.reshape(len(frames), -1, cells.shape[-1])), rows, columns)


def lay_out(
    model: VideoLanguageModel,
    encoded: EncodedFrames,
    row: int,
    times_s: Tensor,
    origin_s: float,
    admitted: Tensor | None,
) -> Step:
    """The step of one camera of a batch. times_s: [F]. admitted: bool [F, R · C], which cells of its frames it appends.

    A group appends the cells that any of its frames admits, and its text where it appends a cell.
    """
    device = model.spec.device
    tokens = model.spec.layout.tokens(times_s.tolist(), origin_s, encoded.rows, encoded.columns)
    cells = encoded.cells.map(lambda batch: batch[row])
    if admitted is not None:
        is_admitted = model.spec.layout.by_group(admitted).flatten()
        is_kept = torch.ones(len(tokens), dtype=torch.bool)
        is_kept[tokens.is_cell] = is_admitted
        tokens = tokens.at(is_kept.nonzero().squeeze(1))
        cells = cells.at(is_admitted.nonzero().squeeze(1).to(device))
    if len(cells) == len(tokens):
        return Step(tokens, cells)
    words = model.embed_tokens(tokens.words.to(device))
    return Step(tokens, words.scatter(tokens.is_cell.nonzero().squeeze(1).to(device), cells))
