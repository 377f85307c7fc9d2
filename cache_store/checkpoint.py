"""A camera's global summary tier as a value that outlives its process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cache_store.cached_tokens import CachedTokens
from cache_store.gap import Gap
from cache_store.row_format import RowFormat

SCHEMA_VERSION = 5
READABLE_VERSIONS = (3, 4, SCHEMA_VERSION)  # see checkpoint_codec


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """What a checkpoint says of its memory beside the tensors. Times in Unix seconds. Part of the manifest in JSON."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    fingerprint: str  # of the model that wrote it
    saved_s: float
    started_s: float  # when the camera was first added: second 0 of a file
    newest_s: float  # of the newest frame in it; without any, of the newest that was erased, or 0
    next_position: int
    next_frame: int
    frames_seen: int
    frames_dropped: int
    compactions: int
    origin_s: float | None = None  # of the texts between frames; None where there was no frame, or no such text
    gaps: tuple[Gap, ...] = ()
    rows: RowFormat = RowFormat.EXACT


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tier of all layers, on the CPU, and by frame the thumbnails of the frames that still have a token in it.

    states: of recurrent layers, as of the newest frame seen. has_dense_ids: its token ids are those of an earlier
    version, frame · cells of a frame + cell.
    """

    facts: CheckpointFacts
    layers: tuple[CachedTokens, ...]
    thumbnails: dict[int, bytes]
    states: tuple[Tensor, ...] = ()
    has_dense_ids: bool = False

    @property
    def nbytes(self) -> int:
        """Of the tensors and the thumbnails."""
        tensors = sum(tokens.nbytes for tokens in self.layers) + sum(state.nbytes for state in self.states)
        return tensors + sum(map(len, self.thumbnails.values()))

    @property
    def content(self) -> tuple[object, ...]:
        """A key of the tokens: equal keys of one memory, since it began or was restored, mean equal tokens.

        Only frames and compactions change a memory, and a checkpoint leaves out nothing but its newest tokens.
        """
        facts = self.facts
        lengths = tuple(map(len, self.layers))
        return facts.rows, facts.next_position, facts.next_frame, facts.compactions, lengths
