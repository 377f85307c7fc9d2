"""Packs a clip and many questions about it into one sequence: prefix, groups of frames, question blocks.

Each block belongs to one group. It attends to the prefix, to the remaining tokens of the groups so far, and to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.tiny.scenes.questions import YES_NO_TYPES
from models.tiny.training.architecture import Architecture, Grid
from models.tiny.training.clips import Clip
from models.tiny.training.labels import IGNORED
from models.tiny.training.layouts import WINDOW_FRAMES, Layout

NEWLINE = -1  # stands for the image_newline embedding among the text ids

_LOSS_WEIGHT = dict.fromkeys(YES_NO_TYPES, 2.0)
_FILLERS = {
    "text": 0,
    "video": -1,
    "group": -1,
    "block": -1,
    "is_kept": 0,
    "positions": 0,
    "labels": IGNORED,
    "weights": 0,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips packed and padded to one length. B clips, G groups of F frames with P cells, S tokens in the sequence."""

    pixels: Tensor  # [B, G, F, H, W, 3] uint8
    cells: Tensor  # [B, G, P, F, 2]
    centres: Tensor  # [B, G, P, F, 2]
    events: Tensor  # [B, G, P, 4]
    video: Tensor  # [B, S] index into the G * P tokens, -1 where no video token stands
    text: Tensor  # [B, S] token ids; 0 where a video token stands
    group: Tensor  # [B, S] newest group at that token, -1 in the prefix
    block: Tensor  # [B, S] 0 prefix and context, 1.. questions, -1 padding
    is_kept: Tensor  # [B, S] not evicted when its group leaves the recent window
    positions: Tensor  # [B, S] temporal ones, if a token has several
    labels: Tensor  # [B, S] the next token id, or IGNORED
    weights: Tensor  # [B, S]
    types: list[list[str]]  # of each clip's questions
    grid: Grid


def packed_mask(batch: Batch) -> Tensor:
    """Whether a token (row) attends to another: an earlier one of its own block, or one of the context not evicted yet.

    [B, 1, S, S]
    """
    block, group = batch.block, batch.group
    order, window = torch.arange(block.shape[1]), WINDOW_FRAMES // batch.pixels.shape[2]
    is_context = (block == 0)[:, None, :] & (group[:, None, :] <= group[:, :, None])
    is_cached = batch.is_kept[:, None, :] | (group[:, :, None] - group[:, None, :] < window)
    is_own = block[:, :, None] == block[:, None, :]
    mask = (order[:, None] >= order[None, :]) & ((is_context & is_cached) | (is_own & (block != 0)[:, None, :]))
    return (mask | torch.eye(len(order), dtype=torch.bool))[:, None]


def place_video(embedded: Tensor, batch: Batch, tokens: Tensor) -> Tensor:
    """The embedded sequence with the video tokens in their places. [B, S, D], [B, G * P, D] -> [B, S, D]"""
    is_video = batch.video >= 0
    sequence = embedded.to(tokens.dtype).clone()
    sequence[is_video] = tokens[is_video.nonzero()[:, 0], batch.video[is_video]]
    return sequence


class Packer:
    """Turns clips into batches, with the tokenizer and the texts of one architecture."""

    def __init__(self, architecture: Architecture) -> None:
        tokenizer = architecture.tokenizer
        self.architecture = architecture
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        before, after = architecture.texts.question.split("{question}")
        self.prefix: list[int] = tokenizer(architecture.texts.prefix)["input_ids"]
        self._before = [*architecture.question_lead, *tokenizer(before)["input_ids"]]
        self._after: list[int] = tokenizer(after)["input_ids"]
        self.end: int = tokenizer.eos_token_id

    def ids(self, text: str) -> list[int]:
        """Token ids of a text; every word must be in the vocabulary."""
        return [self._vocabulary[word] for word in text.split()]

    def pack(self, clips: Sequence[Clip], layouts: Sequence[Layout]) -> Batch:
        """One padded batch of clips of one grid and as many groups, with their layouts."""
        rows = [self._row(clip, layout) for clip, layout in zip(clips, layouts, strict=True)]
        length = max(row["text"].size for row in rows)
        columns = {name: _padded([row[name] for row in rows], length, fill) for name, fill in _FILLERS.items()}
        columns["is_kept"], columns["weights"] = columns["is_kept"].bool(), columns["weights"].float()
        return Batch(
            pixels=torch.from_numpy(np.stack([clip.pixels[clip.groups] for clip in clips])),
            cells=torch.from_numpy(np.stack([clip.cells[clip.groups].swapaxes(1, 2) for clip in clips])),
            centres=torch.from_numpy(np.stack([clip.centres[clip.groups].swapaxes(1, 2) for clip in clips])),
            events=torch.from_numpy(np.stack([clip.events for clip in clips])),
            types=[[question.type for _, question in clip.questions] for clip in clips],
            grid=clips[0].grid,
            **columns,
        )

    def _row(self, clip: Clip, layout: Layout) -> dict[str, NDArray[np.generic]]:
        start, tokens, context = len(self.prefix), len(layout.group), layout.group.tolist()
        next_position = {
            group: position + 1 for group, position in zip(context, layout.positions.tolist(), strict=True)
        }
        text, group = self.prefix + layout.text.tolist(), [-1] * start + context
        video = [-1] * start + layout.video.tolist()
        block, positions = [0] * len(text), [*range(start), *layout.positions.tolist()]
        labels, weights = [IGNORED] * (start + tokens), [0.0] * (start + tokens)
        for number, (moment, question) in enumerate(clip.questions, start=1):
            prompt = [*self._before, *self.ids(question.text), *self._after]
            answer = [*self.ids(question.answer), self.end]
            piece = [*prompt, *answer[:-1]]
            text += piece
            video += [-1] * len(piece)
            group += [moment] * len(piece)
            block += [number] * len(piece)
            positions += range(next_position[moment], next_position[moment] + len(piece))
            labels += [IGNORED] * (len(prompt) - 1) + answer
            weights += [_LOSS_WEIGHT.get(question.type, 1.0)] * len(piece)
        columns = {
            "text": text, "video": video, "group": group, "block": block, "positions": positions, "labels": labels,
        }  # fmt: skip
        row: dict[str, NDArray[np.generic]] = {name: np.array(values) for name, values in columns.items()}
        is_kept = np.ones(len(text), dtype=np.int64)
        is_kept[start : start + tokens] = layout.is_kept
        return row | {"is_kept": is_kept, "weights": np.array(weights, dtype=np.float32)}


def _padded(rows: Sequence[NDArray[np.generic]], length: int, fill: float) -> Tensor:
    out = np.full((len(rows), length), fill, dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        out[index, : row.size] = row
    return torch.from_numpy(out)
