"""The seam between cameras and feeds: what every source of frames provides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.cameras import PlaybackSpeed
from pipeline.decoding.decoders import DecoderFactory, libav_alone
from pipeline.decoding.images import DecodedImage
from pipeline.sources.sampling import EvenRate


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """How a source is played. Times are those of `clock`; with `correction_s` they are Unix times.

    started_s: when the camera was added: a recording, or a scene without a start of its own, begins then at live pace,
        and its end is then at fast pace. No frame is given before its time.
    is_looped: a recording begins again whenever it has ended.
    rate: of a live source, as far as the machine keeps up.
    choose_decoder: what decodes a stream where libav need not.
    after_s: frames up to this time are not given again.
    correction_s: what to add to a time for the Unix time, as of when the source was opened.
    wait: sleeps for so many seconds, if positive; returns whether to stop.
    on_dropped: called with the number of sampled frames that were lost.
    min_width: as wide as the model reads an image, in pixels: of several sizes of a stream that one is read.
    on_note: called with other facts that the operator should know, once for each fact.
    """

    camera: str
    pace: PlaybackSpeed
    started_s: float
    after_s: float
    clock: Callable[[], float]
    wait: Callable[[float], bool]
    on_dropped: Callable[[int], None]
    on_note: Callable[[str], None]
    correction_s: float = 0.0
    is_looped: bool = False
    rate: EvenRate = field(default_factory=lambda: EvenRate(max_stride=1))
    choose_decoder: DecoderFactory = libav_alone
    min_width: int = 0


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A sampled video frame. `time_s`: by the source's clock; `is_last`: no further frame of its segment follows."""

    time_s: float
    image: DecodedImage
    is_last: bool = True


class Source(Protocol):
    """An opened camera."""

    @property
    def is_finite(self) -> bool:
        """Whether the source is a recording, which ends, and not a connection, which breaks off."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive at the pace of their own clock; else as fast as they are taken."""

    @property
    def can_wait(self) -> bool:
        """Whether frames stay where they are until they are taken; else those that are not taken in time are lost."""

    def samples(self) -> Iterator[SampledFrame]:
        """Sampled frames, times strictly increasing, until the end or a stop request. Blocks. Raises SourceError."""

    def close(self) -> None:
        """Frees its resources; no frame follows."""
