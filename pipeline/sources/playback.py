"""One source of a camera, from its opening to its end: frames come in, clips go out."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass

from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, CameraState
from pipeline.decoding.decoders import DecoderFactory
from pipeline.decoding.reduction import Fit
from pipeline.network.urls import SourceUrl
from pipeline.sources.clip_builder import ClipBuilder
from pipeline.sources.clip_queue import DROPPED
from pipeline.sources.clips import Clip
from pipeline.sources.feed_output import FeedOutput
from pipeline.sources.frame_clock import FrameClock
from pipeline.sources.frame_times import FrameTimes
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.opening import open_source
from pipeline.sources.resume_point import ResumePoint
from pipeline.sources.sampling import EvenRate
from pipeline.sources.source import Source, SourceContext

RECONNECTED = GapReason.RECONNECTED  # the reason of the gap before its first frame
_MAX_NOTES = 8  # the newest ones: a file that breaks off in every round may do so in many ways
_FIRST_SIZE = (1920, 1080)  # of a camera's images, of which nothing is known before it is opened


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """How a camera is played. See CameraFeed. config: with the camera's own rate."""

    spec: CameraSpec
    url: SourceUrl
    config: IngestConfig
    fit: Fit
    choose_decoder: DecoderFactory
    clock: FrameClock


class Playback:
    """Plays a source once. has_frames: whether it has given any."""

    def __init__(
        self, settings: FeedSettings, resume: ResumePoint, times: FrameTimes, rate: EvenRate, output: FeedOutput
    ) -> None:
        """rate: of a live source."""
        self._settings, self._clock = settings, settings.clock
        self._resume, self._times, self._rate, self._output = resume, times, rate, output
        self.has_frames = False
        self._notes: deque[str] = deque(maxlen=_MAX_NOTES)
        self._lost_before: str = RECONNECTED if resume.has_frames else ""  # why frames before the next one were lost

    def open(self) -> Source:
        """Opens the source. Blocks and raises as open_source does."""
        spec, context = self._settings.spec, self._context()
        source = open_source(self._settings.url, self._settings.config, context)
        self._times.keep_correction(context.correction_s if source.is_finite and not spec.loop else None)
        return source

    def play(self, source: Source) -> None:
        """Plays it until its end, or a stop request. Blocks. Raises SourceError."""
        settings, clock = self._settings, self._clock
        builder = ClipBuilder(settings.spec, settings.config, settings.fit, is_live=source.is_live)
        try:
            for sample in source.samples():
                self._resume.give(sample.time_s)
                self.has_frames = True
                self._output.report(CameraState.LIVE, self._detail(source))
                lost_before, self._lost_before = self._lost_before, ""
                self._put(builder.add(sample, clock(), lost_before=lost_before), source)
        finally:
            self._put(builder.flush(clock()), source)

    def _detail(self, source: Source) -> str:
        notes = "; ".join(filter(None, (*self._notes, self._times.note)))
        return self._rate.described(notes, self._settings.config.sample_fps) if source.is_live else notes

    def _put(self, clip: Clip | None, source: Source) -> None:
        if clip is None:
            return
        if source.is_live:  # a frame that was not due is no gap
            clip = dataclasses.replace(clip, period_s=clip.period_s * self._rate.stride)
        if self._output.put(clip, can_wait=source.can_wait):
            self._rate.lost(self._clock())

    def _count_dropped(self, frames: int) -> None:
        if frames:
            self._lost_before = DROPPED
            self._output.count_dropped(frames)

    def _note(self, note: str) -> None:
        """Adds a note to the detail of the state; it is logged once, with the state."""
        if note not in self._notes:
            self._notes.append(note)

    def _context(self) -> SourceContext:
        settings, opening = self._settings, self._resume.opening_times()
        return SourceContext(
            camera=settings.spec.name,
            pace=settings.spec.pace,
            started_s=opening.started_s,
            after_s=opening.after_s,
            correction_s=opening.correction_s,
            clock=self._clock,
            wait=self._output.wait,
            on_dropped=self._count_dropped,
            on_note=self._note,
            is_looped=settings.spec.loop,
            choose_decoder=settings.choose_decoder,
            rate=self._rate,
            min_width=settings.fit(*_FIRST_SIZE)[0],
        )
