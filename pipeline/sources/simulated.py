"""Simulated cameras: the scene generator as a source."""

from __future__ import annotations

import math
from collections.abc import Iterator

from models.tiny.scenes.scene import Scene
from pipeline.cameras import PlaybackSpeed
from pipeline.decoding.images import ArrayImage
from pipeline.network.urls import SimUrl
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.source import SampledFrame, SourceContext

REPEATS_AFTER_S = 21_600.0
FAST_FROM_S = REPEATS_AFTER_S  # at fast pace a scene without a start of its own begins so long before it was added


def describe(url: SimUrl) -> str:
    """What is drawn: the name of a scene is a label, only its seed changes the scene."""
    return f"a drawn street, seed {url.seed}"


class SimulatedSource:
    """An endless scene, drawn only at the sampled moments.

    It repeats every six hours, because a scene generates and keeps all its events from the beginning on.
    """

    is_finite = False

    def __init__(self, url: SimUrl, config: IngestConfig, context: SourceContext) -> None:
        self._url = url
        self._scene = Scene(url.seed, mean_gap_s=url.gap_s)
        self.is_live = context.pace is PlaybackSpeed.LIVE
        self.can_wait = not self.is_live
        begins_s = context.started_s - (0 if self.is_live else FAST_FROM_S)
        self._start_s = begins_s if url.start_s is None else url.start_s - context.correction_s
        self._period_s = 1 / config.sample_fps
        self._max_lag_s = config.max_lag_s
        self._context = context

    def samples(self) -> Iterator[SampledFrame]:
        """Endless, no frame before its time. Live: from now on. Fast: from the start, or from after_s on."""
        context = self._context
        moment = self._moment_after(
            max(context.after_s, context.clock() - self._period_s) if self.is_live else context.after_s
        )
        due = float(moment)  # it need not be whole where the rate is lowered
        while not context.wait(self._time_s(moment) - context.clock()):
            yield SampledFrame(self._time_s(moment), self._draw(moment))
            due += context.rate.at(context.clock()) if self.is_live else 1
            moment = math.ceil(due)
            if self.is_live and context.clock() - self._time_s(moment) > self._max_lag_s:
                missed = self._moment_after(context.clock() - self._period_s) - moment
                context.on_dropped(missed)
                context.rate.lost(context.clock())
                moment += missed
                due = float(moment)

    def close(self) -> None:
        """Nothing to close."""

    def _time_s(self, moment: int) -> float:
        return self._start_s + moment * self._period_s

    def _moment_after(self, time_s: float) -> int:
        """The first moment later than `time_s`."""
        return max(0, math.floor((time_s - self._start_s) / self._period_s + 1e-6) + 1) if time_s > -math.inf else 0

    def _draw(self, moment: int) -> ArrayImage:
        drawn = self._scene.frame(moment * self._period_s % REPEATS_AFTER_S, self._url.width, self._url.height)
        return ArrayImage(drawn)
