"""Packs a clip and many questions about it into one sequence: prefix, frames, question blocks.

Each block belongs to one frame. It attends to the prefix, to the remaining tokens of the frames so far, and to itself.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from models.tiny.network import RELIABLE_POSITIONS, TOKENS_PER_FRAME
from models.tiny.scenes.questions import YES_NO_TYPES
from models.tiny.training.clips import Clip
from models.tiny.training.labels import IGNORED
from models.tiny.vocabulary import ASSISTANT, END, PREFIX_TEXT
from ops.positions import reindex

NEWLINE = -1  # stands for the image_newline embedding among the text ids
WINDOW_FRAMES = 4  # the recent window: the newest frames, always whole
MAX_POSITION = 4096

_SPARE_POSITIONS = 64
_RANKS_SHARE = 0.25  # of the bounded memories: positions without gaps
_UNMOVED_SHARE = 0.25  # of the others: positions are not renumbered
_MAX_POSITIONS = (500, RELIABLE_POSITIONS)  # range of the position at which they are
_LOSS_WEIGHT = dict.fromkeys(YES_NO_TYPES, 2.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips packed and padded to one length. B clips, T frames, N video tokens, S tokens in the sequence."""

    pixels: Tensor  # [B, T, 64, 64, 3] uint8
    cells: Tensor  # [B, T, 16, 2]
    centres: Tensor  # [B, T, 16, 2]
    events: Tensor  # [B, T, 16, 4]
    video: Tensor  # [B, N] indices into the T * 16 tokens
    text: Tensor  # [B, S] token ids; pad where a video token stands
    frame: Tensor  # [B, S] newest frame at that token, -1 in the prefix
    block: Tensor  # [B, S] 0 prefix and video, 1.. questions, -1 padding
    is_kept: Tensor  # [B, S] not evicted when its frame leaves the recent window
    positions: Tensor  # [B, S]
    labels: Tensor  # [B, S] the next token id, or IGNORED
    weights: Tensor  # [B, S]
    types: list[list[str]]  # of each clip's questions


@dataclass(frozen=True, slots=True)
class Layout:
    """One clip's video tokens: indices, whether each outlasts the recent window, and positions."""

    video: NDArray[np.int64]  # [N]
    is_kept: NDArray[np.bool_]  # [N]
    positions: NDArray[np.int64]  # [N]


def lay_out(
    rng: random.Random,
    frames: int,
    question_frames: Sequence[int],
    *,
    prefix: int,
    lasting: NDArray[np.float64] | None = None,
    stream_frames: NDArray[np.int64] | None = None,
    has_gaps: bool = False,
) -> Layout:
    """Which video tokens are in the sequence, and their positions.

    lasting: [T * 16], the probability that a bounded memory keeps each token. Evicted tokens are in the sequence only
    if they are in the recent window of some question. Positions are renumbered when they run out, as in the product,
    or to ranks. None: the whole video. stream_frames: [T], the number of each frame in its stream, by default 0 to
    T - 1. has_gaps: positions of a whole video jump.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    frame = np.repeat(np.arange(frames), TOKENS_PER_FRAME)
    is_kept = np.ones(len(frame), dtype=bool) if lasting is None else noise.random(len(frame)) < lasting
    is_new = np.zeros(frames, dtype=bool)
    for moment in set(question_frames) | {frames - 1}:
        is_new[max(0, moment - WINDOW_FRAMES + 1) : moment + 1] = True
    video = np.flatnonzero(is_kept | is_new[frame])
    positions = prefix + (video if lasting is None else _bounded_positions(rng, video, stream_frames))
    if has_gaps and lasting is None:
        positions = (
            positions + _jumps(noise, frames, MAX_POSITION - _SPARE_POSITIONS - int(positions[-1]))[frame[video]]
        )
    return Layout(video, is_kept[video], positions)


def _bounded_positions(
    rng: random.Random, video: NDArray[np.int64], stream_frames: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Positions of the tokens of a bounded memory, from 0 on. [N] -> [N]"""
    frame, cell = np.divmod(video, TOKENS_PER_FRAME)
    unbounded = (frame if stream_frames is None else stream_frames[frame]) * TOKENS_PER_FRAME + cell
    if rng.random() < _RANKS_SHARE:
        return np.arange(len(video))
    is_unmoved = rng.random() < _UNMOVED_SHARE
    max_position = MAX_POSITION - _SPARE_POSITIONS if is_unmoved else int(rng.uniform(*_MAX_POSITIONS))
    return reindexed_over_time(rng, unbounded, max(max_position, 2 * len(video)))


def reindexed_over_time(rng: random.Random, positions: NDArray[np.int64], max_position: int) -> NDArray[np.int64]:
    """The positions after a memory was reindexed each time that its next position reached `max_position`. [N] -> [N]

    A long quiet time has several reindexings, so the distance to the first token after it is drawn at random.
    """
    moved = positions.copy()
    while moved[-1] >= max_position:
        new = int(np.searchsorted(moved, max_position))
        last, jump = -1, int(moved[new]) + 1
        if new:
            before, jump = [torch.from_numpy(moved[:new])], int(moved[new] - moved[new - 1])
            span = max_position * 3 // 4
            reindexed = reindex(before, first=0, max_span=span, max_gap=TOKENS_PER_FRAME, recent_from=max_position)
            moved[:new] = reindexed[0].numpy()
            last = int(moved[new - 1])
        moved[new:] += last + min(jump, rng.randint(1, max_position - 1 - last)) - moved[new]
    return moved


def _jumps(noise: np.random.Generator, frames: int, max_total: int) -> NDArray[np.int64]:
    """How far the positions of each frame are moved on: a few large jumps, or many small ones. [T]"""
    total = float(noise.uniform(0, 1)) ** 1.5 * max(0, max_total)
    steps = noise.exponential(1, frames) * (noise.random(frames) < noise.choice([0.1, 0.5, 1.0]))
    steps[0] *= noise.random() < 0.3
    moved: NDArray[np.int64] = np.floor(np.cumsum(steps) / max(steps.sum(), 1e-6) * total).astype(np.int64)
    return moved


class Packer:
    """Turns clips into batches, with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.prefix = [self._vocabulary[word] for word in PREFIX_TEXT.split()]
        self.end = self._vocabulary[END]

    def ids(self, text: str) -> list[int]:
        """Token ids of a text; every word must be in the vocabulary."""
        return [self._vocabulary[word] for word in text.split()]

    def pack(self, clips: Sequence[Clip], layouts: Sequence[Layout]) -> Batch:
        """One padded batch of clips with their layouts."""
        rows = [self._row(clip, layout) for clip, layout in zip(clips, layouts, strict=True)]
        length = max(row["text"].size for row in rows)
        video = max(layout.video.size for layout in layouts)
        filler = {
            "text": 0,
            "frame": -1,
            "block": -1,
            "is_kept": 0,
            "positions": 0,
            "labels": IGNORED,
            "weights": 0,
        }
        columns = {name: _padded([row[name] for row in rows], length, fill) for name, fill in filler.items()}
        return Batch(
            pixels=torch.from_numpy(np.stack([clip.pixels for clip in clips])),
            cells=torch.from_numpy(np.stack([clip.cells for clip in clips])),
            centres=torch.from_numpy(np.stack([clip.centres for clip in clips])),
            events=torch.from_numpy(np.stack([clip.events for clip in clips])),
            video=_padded([layout.video for layout in layouts], video, -1),
            text=columns["text"],
            frame=columns["frame"],
            block=columns["block"],
            is_kept=columns["is_kept"].bool(),
            positions=columns["positions"],
            labels=columns["labels"],
            weights=columns["weights"].float(),
            types=[[question.type for _, question in clip.questions] for clip in clips],
        )

    def _row(self, clip: Clip, layout: Layout) -> dict[str, NDArray[np.generic]]:
        start, video = len(self.prefix), layout.video
        frame_of = video // TOKENS_PER_FRAME
        next_position = {int(f): int(p) + 1 for f, p in zip(frame_of, layout.positions, strict=True)}
        text, frame = self.prefix + [0] * video.size, [-1] * start + frame_of.tolist()
        block, positions = [0] * len(text), [*range(start), *layout.positions.tolist()]
        is_kept, labels, weights = (
            [True] * start + layout.is_kept.tolist(),
            [IGNORED] * len(text),
            [0.0] * len(text),
        )
        for number, (moment, question) in enumerate(clip.questions, start=1):
            prompt, answer = self.ids(f"{question.text} {ASSISTANT}"), [*self.ids(question.answer), self.end]
            piece = [NEWLINE, *prompt, *answer[:-1]]
            text += piece
            frame += [moment] * len(piece)
            block += [number] * len(piece)
            positions += range(next_position[moment], next_position[moment] + len(piece))
            is_kept += [True] * len(piece)
            labels += [IGNORED] * len(prompt) + answer
            weights += [_LOSS_WEIGHT.get(question.type, 1.0)] * len(piece)
        columns = {"text": text, "frame": frame, "block": block, "positions": positions}
        row: dict[str, NDArray[np.generic]] = {name: np.array(values) for name, values in columns.items()}
        row |= {"is_kept": np.array(is_kept, dtype=np.int64), "labels": np.array(labels)}
        return row | {"weights": np.array(weights, dtype=np.float32)}


def _padded(rows: Sequence[NDArray[np.generic]], length: int, fill: float) -> Tensor:
    out = np.full((len(rows), length), fill, dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        out[index, : row.size] = row
    return torch.from_numpy(out)
