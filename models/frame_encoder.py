"""From frames to the tokens that a memory appends: the admitted cells, encoded, with text between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from cache_store.memory import Memory
from models.embeddings import Embeddings
from models.frame_layout import FrameLayout, FrameTokens
from models.vision_language_model import VideoLanguageModel
from ops import transfer


@dataclass(frozen=True, slots=True)
class EncodedFrames:
    """The cells of a step of frames of one camera, encoded. cells: [G · R · C, E]"""

    cells: Embeddings
    rows: int
    columns: int

    def part(self, is_chosen: Tensor) -> EncodedFrames:
        """The chosen groups. bool [G]"""
        chosen = self.cells.map(lambda cells: torch.unflatten(cells, 0, (len(is_chosen), -1))[is_chosen].flatten(0, 1))
        return EncodedFrames(chosen, self.rows, self.columns)


@dataclass(frozen=True, slots=True)
class FrameStep:
    """What one memory appends: its tokens, and what the decoder reads of them. [T], [T, E]

    group_sizes: how many of the tokens each group of frames has. span: how many positions they take. origin_s: the time
    of the memory's first frame, from which texts between frames count.
    """

    tokens: FrameTokens
    embeddings: Embeddings
    num_frames: int
    group_sizes: list[int]
    span: int
    origin_s: float


def _admitted_groups(
    layout: FrameLayout, frames: Tensor, times_s: Tensor, admitted: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The frames of the groups with an admitted cell, with their times and admitted cells; None stands for all cells.

    [F, H, W, 3], [F], bool [F, P]
    """
    if admitted is None or bool(admitted.all()):
        return frames, times_s, None
    is_chosen = layout.frames_of_groups(layout.by_group(admitted).any(dim=1), len(admitted))
    return frames[is_chosen], times_s[is_chosen], admitted[is_chosen]


def encode(model: VideoLanguageModel, frames: Iterable[Tensor]) -> list[EncodedFrames]:
    """Runs the vision encoder over frames of B cameras: one batch for all that have one size. B × uint8 [F, H, W, 3]"""
    layout = model.spec.layout
    groups = [layout.group(of_camera) for of_camera in frames]
    encoded: dict[int, EncodedFrames] = {}
    for rows_of_size in _by_size(groups):
        pixels = transfer.concat_to_device([groups[row] for row in rows_of_size], model.spec.device)
        batch = model.embed_frames(pixels)
        ends = list(accumulate(len(groups[row]) for row in rows_of_size))
        for row, end in zip(rows_of_size, ends, strict=True):
            part = slice(end - len(groups[row]), end)
            cells = batch.map(lambda cells, part=part: cells[part].flatten(0, 1))  # type: ignore[misc]
            encoded[row] = EncodedFrames(cells, *layout.grid(groups[row].shape[-2], groups[row].shape[-3]))
    return [encoded[row] for row in range(len(groups))]


def steps(
    model: VideoLanguageModel,
    memories: Sequence[Memory],
    frames: Iterable[Tensor],
    times_s: Iterable[Tensor],
    admitted: Iterable[Tensor | None],
) -> list[FrameStep | None]:
    """The step of each memory, with frames as `MemoryWriter.append` takes them; None where no cell is admitted.

    The memories are not changed. These steps are to be prefilled before any other frames of theirs.
    """
    every = zip(frames, times_s, admitted, strict=True)
    admitted_frames = [_admitted_groups(model.spec.layout, *of_memory) for of_memory in every]
    encoded = iter(encode(model, [pixels for pixels, _, _ in admitted_frames if len(pixels)]))
    return [
        lay_out(model, memory, next(encoded), times, cells) if len(times) else None
        for memory, (_, times, cells) in zip(memories, admitted_frames, strict=True)
    ]


def lay_out(
    model: VideoLanguageModel, memory: Memory, encoded: EncodedFrames, times_s: Tensor, admitted: Tensor | None
) -> FrameStep:
    """The step of one memory, which is not changed. times_s: [F]. admitted: bool [F, R · C], which cells it appends.

    A group appends the cells that any of its frames admits, and its text where it appends a cell.
    """
    device = model.spec.device
    origin_s = float(times_s[0]) if memory.origin_s is None else memory.origin_s
    tokens = model.spec.layout.tokens(times_s.tolist(), origin_s, encoded.rows, encoded.columns)
    cells = encoded.cells
    if admitted is not None:
        is_admitted = model.spec.layout.by_group(admitted).flatten()
        is_kept = torch.ones(len(tokens), dtype=torch.bool)
        is_kept[tokens.is_cell] = is_admitted
        tokens = tokens.at(is_kept.nonzero().squeeze(1))
        cells = cells.at(transfer.to_device(is_admitted.nonzero().squeeze(1), device))
    if len(cells) < len(tokens):
        words = model.embed_tokens(transfer.to_device(tokens.words, device))
        cells = words.scatter(transfer.to_device(tokens.is_cell.nonzero().squeeze(1), device), cells)
    return FrameStep(tokens, cells, len(times_s), tokens.group_sizes, tokens.span, origin_s)


def _by_size(groups: Sequence[Tensor]) -> list[list[int]]:
    """Which cameras' frames have one size. Indices, in their order"""
    batches: dict[torch.Size, list[int]] = {}
    for row, of_camera in enumerate(groups):
        batches.setdefault(of_camera.shape[1:], []).append(row)
    return list(batches.values())
