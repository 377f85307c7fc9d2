"""Plays a source to its end, without a device, and says what came out."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cameras import CameraSpec, CameraState, PlaybackSpeed, SourceReason
from pipeline.network.urls import parse
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.opening import open_source
from pipeline.sources.source import SampledFrame, SourceContext

START_S = 1_700_000_000.0
QUICK = IngestConfig(
    stall_after_s=1.5,
    open_timeout_s=2.0,
    allowed_networks=("127.0.0.0/8",),
    video_folders=(Path(tempfile.gettempdir()),),
)


@dataclass
class Played:
    samples: list[SampledFrame] = field(default_factory=list)
    dropped: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def times_s(self) -> list[float]:
        """Since the start."""
        return [sample.time_s - START_S for sample in self.samples]


def play(
    url: str,
    *,
    pace: PlaybackSpeed = PlaybackSpeed.FAST,
    config: IngestConfig = QUICK,
    after_s: float = -math.inf,
    most: int = 10_000,
    started_s: float = START_S,
    clock: Callable[[], float] = time.time,
) -> Played:
    """Opens a source, takes at most so many samples, closes it."""
    played, stopped = Played(), threading.Event()

    def count(frames: int) -> None:
        played.dropped += frames

    playback = SourceContext(
        camera="lobby",
        pace=pace,
        started_s=started_s,
        after_s=after_s,
        clock=clock,
        wait=lambda seconds: stopped.wait(max(0.0, seconds)),
        on_dropped=count,
        on_note=played.notes.append,
    )
    source = open_source(parse(url), config, playback)
    try:
        for sample in source.samples():
            played.samples.append(sample)
            if len(played.samples) >= most:
                break
    finally:
        source.close()
    return played


class Watched:
    """A running feed, the states it reported and the clips it handed over."""

    def __init__(
        self,
        url: str,
        pace: PlaybackSpeed = PlaybackSpeed.LIVE,
        config: IngestConfig = QUICK,
        clips: ClipQueue | None = None,
        **options: float,
    ) -> None:
        self.states: list[tuple[CameraState, str]] = []
        self.reasons: list[SourceReason | None] = []
        self.clips = ClipQueue(4) if clips is None else clips
        spec = CameraSpec(name="lobby", url=url, pace=pace)
        self.feed = CameraFeed(spec, config, 64, self.clips, on_state=self._note, **options)
        self._changed = threading.Condition()

    def wait_for(self, state: CameraState, timeout_s: float = 15) -> str:
        """Blocks until the state was reported; returns its detail. Its clips are left where they are."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(state is seen for seen, _ in self.states), timeout_s), self.states
            return next(detail for seen, detail in reversed(self.states) if seen is state)

    def take_until_over(self, timeout_s: float = 30) -> list[Clip]:
        """All clips up to the state ended or failed."""
        taken, deadline_s = [], time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            over = bool(self.states) and self.states[-1][0] in (CameraState.ENDED, CameraState.FAILED)
            if (clip := self.clips.take()) is not None:
                taken.append(clip)
            elif over:
                return taken
            else:
                time.sleep(0.005)
        raise AssertionError(f"not over after {timeout_s} s: {self.states}")

    def take(self, timeout_s: float = 15) -> Clip:
        """The next clip."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if (clip := self.clips.take()) is not None:
                return clip
            time.sleep(0.005)
        raise AssertionError(f"no clip within {timeout_s} s: {self.states}")

    def _note(self, state: CameraState, detail: str, reason: SourceReason | None) -> None:
        with self._changed:
            self.states.append((state, detail))
            self.reasons.append(reason)
            self._changed.notify_all()


@contextmanager
def watching(
    url: str,
    pace: PlaybackSpeed = PlaybackSpeed.LIVE,
    config: IngestConfig = QUICK,
    clips: ClipQueue | None = None,
    **options: float,
) -> Iterator[Watched]:
    """A started feed, stopped in the end."""
    watched = Watched(url, pace, config, clips, **options)
    watched.feed.start()
    try:
        yield watched
    finally:
        watched.feed.stop()
