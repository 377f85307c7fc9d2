"""Plays a recording round after round, each with new times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.cameras import PlaybackSpeed, SourceInvalid
from pipeline.network.urls import FileUrl, NetworkUrl
from pipeline.sources import timestamps
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.media_source import MediaSource
from pipeline.sources.source import SampledFrame, SourceContext


class LoopedRecording:
    """A recording without an end: each round begins at the time at which the last one ended.

    If the recording has a length, its rounds are counted from the time when the camera was added, so that every process
    shows the same frame at the same time.
    """

    is_finite = True

    def __init__(
        self,
        stream: Demuxer,
        open_again: Callable[[], Demuxer],
        url: FileUrl | NetworkUrl,
        config: IngestConfig,
        context: SourceContext,
    ) -> None:
        """stream: the recording, opened; open_again opens it for the next round."""
        self._open_again, self._url, self._config, self._context = open_again, url, config, context
        self._start_s = _round_start_s(stream.duration_s, context)
        self._round = MediaSource(stream, url, config, context, start_s=self._start_s)
        self.is_live, self.can_wait = self._round.is_live, self._round.can_wait

    def samples(self) -> Iterator[SampledFrame]:
        """See Source.samples. A round that breaks off after its first frame is followed by the next one."""
        newest_s = self._context.after_s
        while True:
            has_frames = False
            try:
                for sample in self._round.samples():
                    newest_s, has_frames = sample.time_s, True
                    yield sample
            except SourceInvalid as error:
                if not has_frames:
                    raise
                self._context.on_note(f"a round broke off: {error}")
            if self._context.wait(0):
                return
            self._begin_next_round(newest_s)

    def close(self) -> None:
        """Closes the round that is played."""
        self._round.close()

    def _begin_next_round(self, newest_s: float) -> None:
        context = replace(self._context, after_s=newest_s)
        start_s, sampler = self._round.end_s, self._round.sampler
        self._round.close()
        self._round = MediaSource(
            self._open_again(), self._url, self._config, context, start_s=start_s, sampler=sampler
        )


def _round_start_s(duration_s: float | None, context: SourceContext) -> float:
    """When the round began that is played now, or, at fast pace, the round of the frame that is given next."""
    now_s = context.clock()
    first_s = timestamps.recording_start_s(context.started_s, duration_s, is_fast=context.pace is PlaybackSpeed.FAST)
    due_s = context.after_s if context.pace is PlaybackSpeed.FAST else now_s
    if duration_s is None:
        return max(first_s, now_s if math.isfinite(context.after_s) else first_s)
    return first_s + duration_s * max(0, math.floor((due_s - first_s) / duration_s)) if due_s > first_s else first_s
