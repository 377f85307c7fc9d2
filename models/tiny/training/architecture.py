"""What training needs of a network: the tokens and positions of a video, and how a packed batch runs through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from models.prompts import PromptTexts

if TYPE_CHECKING:
    from models.tiny.training.batches import Batch
    from models.tiny.training.clips import Clip
    from models.tiny.training.stages import Stage

Grid = tuple[int, int]  # rows and columns of a group's video tokens


@dataclass(frozen=True, slots=True)
class Context:
    """All tokens of a clip's video, oldest first, and none of them evicted.

    positions: from 0 on, in a stream that had the frames, too, that the clip lacks.
    """

    video: NDArray[np.int64]  # [M] index among the clip's video tokens, -1 for text
    text: NDArray[np.int64]  # [M] id of a text token, 0 for a video token
    group: NDArray[np.int64]  # [M]
    positions: NDArray[np.int64]  # [M]


@dataclass(frozen=True, slots=True)
class VideoTokens:
    """The embedded video tokens of a batch, and what DeepStack adds to them behind the first decoder layers."""

    embedded: Tensor  # [B, N, D]
    deepstack: tuple[Tensor, ...] = ()  # [B, N, D] each


class Architecture(Protocol):
    """A network to train. A group is the frames that share video tokens, all of one grid.

    position_gaps: how far apart a memory leaves neighbouring tokens when it renumbers its positions; one is drawn.
    question_lead: stands in front of each question's text ids.
    """

    frames_per_group: int
    grids: Sequence[Grid]
    position_gaps: Sequence[int]
    question_lead: Sequence[int]
    stages: Sequence[Stage]
    texts: PromptTexts
    tokenizer: PreTrainedTokenizerFast
    preprocessor: dict[str, object]  # preprocessor_config.json

    def build(self, seed: int) -> PreTrainedModel:
        """A network with random weights."""

    def load(self, folder: Path) -> PreTrainedModel:
        """The network of a checkpoint."""

    def context(self, clip: Clip) -> Context:
        """The tokens of a clip's video."""

    def embed_video(self, network: PreTrainedModel, pixels: Tensor) -> VideoTokens:
        """The video tokens of all groups. uint8 [B, G, F, H, W, 3]"""

    def hidden_states(
        self, network: PreTrainedModel, batch: Batch, video: VideoTokens
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the language head reads, and the states before the first layer and after each. [B, S, D]"""
