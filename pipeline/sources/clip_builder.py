"""Builds clips from sampled frames."""

from __future__ import annotations

import math

import numpy as np

from pipeline.cameras import CameraSpec
from pipeline.decoding.images import Pixels
from pipeline.decoding.reduction import Fit, ImageReducer
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.source import SampledFrame

WAIT_TOLERANCE = 1.25  # of max_clip_wait_s, because arrival times jitter


def square(side: int) -> Fit:
    """Squares, whatever the image."""
    return lambda _width, _height: (side, side)


class ClipBuilder:
    """Masks and reduces each frame. Completes a clip when it is full or, if live, when it has waited enough.

    All frames of a clip have one size: one of another size completes the clip before it.
    """

    def __init__(self, spec: CameraSpec, config: IngestConfig, fit: Fit, *, is_live: bool) -> None:
        self._camera = spec.name
        self._reducer = ImageReducer(spec.masks, fit, config.thumbnail_width)
        self._config = config
        self._max_wait_s = WAIT_TOLERANCE * config.max_clip_wait_s if is_live else math.inf
        self._last_batch_s: float | None = None
        self._frames: list[Pixels] = []
        self._times_s: list[float] = []
        self._previews: list[Pixels] = []
        self._lost_before: list[str] = []

    def add(self, sample: SampledFrame, now_s: float, *, lost_before: str = "") -> Clip | None:
        """Takes the next frame; returns the clip that it completes, None if it completes none.

        lost_before: why frames right before it were lost, if any were.

        Frames arrive in batches, one for each segment. The next batch is expected to take as long as this one did; the
        clip is completed now if it would be too old by then.
        """
        image = self._reducer.reduce(sample.image)
        is_resized = bool(self._frames) and self._frames[0].shape != image.pixels.shape
        before = self.flush(now_s) if is_resized else None
        self._frames.append(image.pixels)
        self._times_s.append(sample.time_s)
        self._previews.append(image.preview)
        self._lost_before.append(lost_before)
        is_full = len(self._frames) >= self._config.frames_per_clip
        is_old = sample.is_last and self._will_be_old(now_s)
        return before or (self.flush(now_s) if is_full or is_old else None)

    def flush(self, now_s: float) -> Clip | None:
        """The clip of the frames taken so far, None without any."""
        if not self._frames:
            return None
        clip = Clip(
            self._camera,
            np.stack(self._frames),
            tuple(self._times_s),
            tuple(self._previews),
            now_s,
            period_s=1 / self._config.sample_fps,
            lost_before=tuple(self._lost_before) if any(self._lost_before) else (),
        )
        self._frames, self._times_s, self._previews, self._lost_before = [], [], [], []
        return clip

    def _will_be_old(self, now_s: float) -> bool:
        oldest_s = self._times_s[0]
        batch_s = now_s - (oldest_s if self._last_batch_s is None else self._last_batch_s)
        self._last_batch_s = now_s
        return now_s + batch_s - oldest_s > self._max_wait_s
