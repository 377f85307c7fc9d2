"""Selects the frames to sample from a stream by their times, never by their count."""

from __future__ import annotations

import math
from collections.abc import Sequence

MEASURE_S = 4.0
MAX_DEVICE_STRIDE = 100.0
MAX_STRIDE, SETTLE_S, FIRST_CALM_S, LAST_CALM_S = 8, 10.0, 60.0, 960.0
KEY_INTERVAL_TOLERANCE = 1.05  # of the sampling period: key frames that come this often are sampled alone
EARLY_TOLERANCE = 0.01  # of the period: a frame this much before its moment is on time


class FrameRate:
    """Measures the frame rate of a stream, because the rate in its header is often wrong."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._frames = 0

    def add(self, time_s: float) -> float | None:
        """Takes the time of the next frame, in any order; returns the rate once MEASURE_S have passed."""
        self._first_s = time_s if self._first_s is None else self._first_s
        self._frames += 1
        span_s = time_s - self._first_s
        return (self._frames - 1) / span_s if span_s >= MEASURE_S else None


class EvenRate:
    """The stride of a live camera: one frame is sampled in so many moments of its grid, 1 at its full rate.

    Two limits lower the rate, and the lower rate counts: a machine that loses frames lowers it step by step, and the
    device by the share of the frames that it has time for. A camera then gives fewer frames, evenly spaced, instead of
    losing some of them at random. A higher rate that proved too early is tried again after twice the time.
    """

    def __init__(self, max_stride: int = MAX_STRIDE) -> None:
        self._machine_stride, self._device_stride = 1, 1.0
        self._max_stride = max_stride
        self._calm_s = FIRST_CALM_S  # without a loss, before a higher rate is tried
        self._lost_s = self._changed_s = -math.inf
        self._is_trial = False

    @property
    def stride(self) -> float:
        """The stride now."""
        return max(self._machine_stride, self._device_stride)

    def limit(self, share: float) -> None:
        """From now on the device has time for this share of the frames, above 0 and at most 1.

        Beyond MAX_DEVICE_STRIDE a camera would be live and hardly watched: there frames are lost, and counted.
        """
        self._device_stride = min(1 / share, MAX_DEVICE_STRIDE)

    def lost(self, now_s: float) -> None:
        """Frames were lost because the machine is too slow."""
        self._lost_s = now_s
        if self.stride >= self._max_stride or now_s - self._changed_s < SETTLE_S:
            return
        if self._is_trial:
            self._calm_s = min(LAST_CALM_S, 2 * self._calm_s)
        self._machine_stride, self._changed_s, self._is_trial = math.floor(self.stride) + 1, now_s, False

    def at(self, now_s: float) -> float:
        """The stride now; a machine that has lost nothing for long enough gets a higher rate first."""
        if self._machine_stride > 1 and now_s - max(self._lost_s, self._changed_s) >= self._calm_s:
            self._machine_stride, self._changed_s, self._is_trial = self._machine_stride - 1, now_s, True
        return self.stride

    def described(self, notes: str, fps: float) -> str:
        """The notes on a source, and what an operator should know of its rate."""
        if self.stride == 1:
            return notes
        is_machine = self._machine_stride >= self._device_stride
        why = "the machine does not keep up" if is_machine else "the device has no time for more"
        slow = f"sampled at {fps / self.stride:.2g} frames/s of {fps:g}: {why}"
        return f"{notes}; {slow}" if notes else slow


class Sampler:
    """Picks one frame for each moment of a grid that starts at the first frame and has `fps` moments a second.

    A moment without a frame is skipped. Two picks are never closer than half a period.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._start_s: float | None = None
        self._due_s = -math.inf

    def pick(self, times_s: Sequence[float], stride: float = 1) -> list[int]:
        """Indices of the frames that are due, one in `stride` moments.

        `times_s` ascends and may repeat the times of earlier calls.
        """
        return [index for index, time_s in enumerate(times_s) if self._is_due(time_s, stride)]

    def _is_due(self, time_s: float, stride: float) -> bool:
        if time_s < self._due_s - EARLY_TOLERANCE * self._period_s:
            return False
        if self._start_s is None:
            self._start_s = time_s
        # 1.5 times the tolerance: rounding must not assign a frame that is just on time to the moment before.
        step_s = stride * self._period_s
        moment = math.floor((time_s - self._start_s) / step_s + 1.5 * EARLY_TOLERANCE / stride)
        self._due_s = max(self._start_s + (moment + 1) * step_s, time_s + 0.6 * step_s)
        return True
