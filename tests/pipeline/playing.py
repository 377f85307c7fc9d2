"""Plays a source or a feed without a device and collects what it gives."""

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
from pipeline.decoding import dali
from pipeline.network.urls import FileUrl, parse
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_builder import square
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed import CameraFeed
from pipeline.sources.frame_clock import FrameClock
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.opening import open_source, open_stream
from pipeline.sources.source import SampledFrame, SourceContext

START_S = 1_700_000_000.0
QUICK = IngestConfig(
    stall_after_s=1.5,
    open_timeout_s=10.0,  # a busy machine may take seconds for what is there; a test of the timeout sets its own
    workers=0,
    allowed_networks=("127.0.0.0/8",),
    video_folders=(Path(tempfile.gettempdir()),),
)
_MAX_CLIPS = 64  # so that none is lost while a busy machine lets the test wait
_OVER = (CameraState.ENDED, CameraState.FAILED)


class VirtualClock:
    """A clock that advances only when a source waits. Recordings then play live without real waits."""

    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        """Advances the clock; never asks the source to stop."""
        self.now_s += max(0.0, seconds)
        return False


class SlowClock(VirtualClock):
    """Each reading takes `step_s`, as on a machine that is too slow."""

    def __init__(self, step_s: float, now_s: float = START_S) -> None:
        super().__init__(now_s)
        self._step_s = step_s

    def __call__(self) -> float:
        self.now_s += self._step_s
        return self.now_s


@dataclass
class SourceOutput:
    """What a source gave."""

    samples: list[SampledFrame] = field(default_factory=list)
    dropped: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def times_s(self) -> list[float]:
        """The times of the samples in seconds since START_S."""
        return [sample.time_s - START_S for sample in self.samples]


def added_s(url: str, begins_s: float, pace: PlaybackSpeed, config: IngestConfig = QUICK) -> float:
    """When a camera must be added so that its file begins at `begins_s`."""
    parsed = parse(url)
    if pace is PlaybackSpeed.LIVE or not isinstance(parsed, FileUrl):
        return begins_s
    stream = open_stream(parsed, config, lambda: False)
    stream.close()
    return begins_s + (stream.duration_s or 0.0)


def play(
    url: str,
    *,
    pace: PlaybackSpeed = PlaybackSpeed.FAST,
    config: IngestConfig = QUICK,
    after_s: float = -math.inf,
    max_samples: int = 10_000,
    started_s: float = START_S,
    clock: Callable[[], float] = time.time,
    loop: bool = False,
) -> SourceOutput:
    """Opens a source, takes at most `max_samples` samples, closes it. With a VirtualClock it never sleeps.

    started_s: when a file begins, or a live camera was added.
    """
    output = SourceOutput()

    def count_dropped(frames: int) -> None:
        output.dropped += frames

    def sleep(seconds: float) -> bool:
        time.sleep(max(0.0, seconds))
        return False

    context = SourceContext(
        camera="lobby",
        pace=pace,
        started_s=added_s(url, started_s, pace, config),
        after_s=after_s,
        clock=clock,
        wait=clock.wait if isinstance(clock, VirtualClock) else sleep,
        on_dropped=count_dropped,
        on_note=output.notes.append,
        is_looped=loop,
        choose_decoder=dali.decoder_for,
    )
    source = open_source(parse(url), config, context)
    try:
        for sample in source.samples():
            output.samples.append(sample)
            if len(output.samples) >= max_samples:
                break
    finally:
        source.close()
    return output


class RunningFeed:
    """A feed, the states it reported and the queue of its clips. All waits are for events.

    started_s: when a file begins.
    """

    def __init__(
        self,
        url: str,
        pace: PlaybackSpeed = PlaybackSpeed.LIVE,
        config: IngestConfig = QUICK,
        clips: ClipQueue | None = None,
        *,
        frames_per_second: float | None = None,
        loop: bool = False,
        clock: FrameClock | None = None,
        **options: float,
    ) -> None:
        self.states: list[tuple[CameraState, str]] = []
        self.reasons: list[SourceReason | None] = []
        self.notes: list[PictureNote | None] = []
        self._changed = threading.Condition()
        self.clips = ClipQueue(_MAX_CLIPS, on_put=self._notify) if clips is None else clips
        if "started_s" in options:
            options["started_s"] = added_s(url, options["started_s"], pace, config)
        spec = CameraSpec(name="lobby", url=url, pace=pace, frames_per_second=frames_per_second, loop=loop)
        self.feed = CameraFeed(
            spec,
            config,
            square(64),
            self.clips,
            on_state=self._on_state,
            **options | {"choose_decoder": dali.decoder_for} | ({"clock": clock} if clock else {}),
        )

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = 30) -> None:
        """Blocks until the condition holds; it is checked at each state and each clip."""
        with self._changed:
            assert self._changed.wait_for(is_true, timeout_s), self.states

    def wait_for(self, state: CameraState, timeout_s: float = 30) -> str:
        """Blocks until the state was reported; returns its last detail. Takes no clip."""
        self.wait_until(lambda: any(state is reported for reported, _ in self.states), timeout_s)
        return next(detail for reported, detail in reversed(self.states) if reported is state)

    def take(self, timeout_s: float = 30) -> Clip:
        """The next clip."""
        self.wait_until(self.clips.has_clips, timeout_s)
        clip = self.clips.take()
        assert clip is not None
        return clip

    def take_until_over(self, timeout_s: float = 30) -> list[Clip]:
        """All clips up to the state ended or failed."""
        clips: list[Clip] = []
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.wait_until(lambda: self.clips.has_clips() or self._is_over(), deadline_s - time.monotonic())
            is_over = self._is_over()
            while (clip := self.clips.take()) is not None:
                clips.append(clip)
            if is_over:
                return clips

    def _is_over(self) -> bool:
        return bool(self.states) and self.states[-1][0] in _OVER

    def _on_state(self, state: CameraState, detail: str, reason: SourceReason | None, note: PictureNote | None) -> None:
        with self._changed:
            self.states.append((state, detail))
            self.reasons.append(reason)
            self.notes.append(note)
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


@contextmanager
def running_feed(
    url: str,
    pace: PlaybackSpeed = PlaybackSpeed.LIVE,
    config: IngestConfig = QUICK,
    clips: ClipQueue | None = None,
    *,
    frames_per_second: float | None = None,
    loop: bool = False,
    clock: FrameClock | None = None,
    **options: float,
) -> Iterator[RunningFeed]:
    """A started feed; it is stopped at the end."""
    feed = RunningFeed(url, pace, config, clips, frames_per_second=frames_per_second, loop=loop, clock=clock, **options)
    feed.feed.start()
    try:
        yield feed
    finally:
        feed.feed.stop()
