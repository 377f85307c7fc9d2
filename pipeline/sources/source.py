"""What every source of pictures is asked and gives: the seam between cameras and feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.cameras import PlaybackSpeed
from pipeline.decoding.images import DecodedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """How a source is to be played. Times are Unix seconds.

    started_s: when a recording or a scene without a start of its own begins; after_s: frames up to here are known
    already; wait: sleeps so many seconds, if positive, and says whether to stop; dropped: told of sampled frames lost;
    note: told what else the operator should know, once for each reason.
    """

    camera: str
    pace: PlaybackSpeed
    started_s: float
    after_s: float
    clock: Callable[[], float]
    wait: Callable[[float], bool]
    dropped: Callable[[int], None]
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A sampled picture and when it was taken; `is_last` of those that are at hand now."""

    time_s: float
    picture: DecodedImage
    is_last: bool = True


class Source(Protocol):
    """An opened camera."""

    @property
    def is_finite(self) -> bool:
        """Whether its end is the end of a recording, not of a connection."""

    @property
    def is_live(self) -> bool:
        """Whether its pictures come at their own pace; the others come as fast as they are taken."""

    def samples(self) -> Iterator[SampledFrame]:
        """Sampled pictures, times strictly increasing, until it ends or `wait` says stop. Raises SourceError."""

    def close(self) -> None:
        """Frees what it holds; it gives no more pictures."""
