"""Time of a stream made usable: packet times that run on whatever the file says, and where they lie in Unix time."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STEP_BACK_S = 1.0  # more is a fresh start of the stream's clock, less is disorder
MAX_STEP_AHEAD_S = 30.0
DRIFT = 1e-3  # how much slower than ours a camera's clock may run
MAX_ANCHOR_ERROR_S = 30.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a packet's picture is shown and when the packet is decoded, in seconds of the stream."""

    shown_s: float
    decoded_s: float


class PacketClock:
    """Stamps packets so that decode times always run ahead: missing, repeated and jumping times are made good."""

    def __init__(self, frame_duration_s: float) -> None:
        self._frame_duration_s = frame_duration_s
        self._shift_s = 0.0
        self._last_s: float | None = None
        self._last_raw_s: float | None = None

    def stamp(self, pts_s: float | None, dts_s: float | None) -> Stamp:
        """The stamp of the next packet in decode order. Without any time it comes one frame after the last."""
        raw_s = dts_s if dts_s is not None else pts_s
        if self._last_s is None:
            decoded_s = raw_s if raw_s is not None else 0.0
        elif raw_s is None or raw_s == self._last_raw_s:
            decoded_s, pts_s = self._last_s + self._frame_duration_s, None
        else:
            decoded_s = self._follow(self._last_s, raw_s)
        self._last_s, self._last_raw_s = decoded_s, raw_s
        return Stamp(decoded_s if pts_s is None else pts_s + self._shift_s, decoded_s)

    def _follow(self, last_s: float, raw_s: float) -> float:
        step_s = raw_s + self._shift_s - last_s
        if not -MAX_STEP_BACK_S <= step_s <= MAX_STEP_AHEAD_S:
            self._shift_s += self._frame_duration_s - step_s
        return max(last_s, raw_s + self._shift_s)


class FileTimeline:
    """Unix time of a recording that starts at `start_s` with its first packet."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._first_s: float | None = None

    def see(self, shown_s: float, arrived_s: float) -> None:
        """Takes note of a packet."""
        if self._first_s is None:
            self._first_s = shown_s

    def unix(self, shown_s: float) -> float:
        """When the picture shown at this second of the stream was taken."""
        return self._start_s + shown_s - (self._first_s or 0.0)


class LiveTimeline:
    """Unix time of a live stream: the packet with the shortest way from the camera tells how their clocks differ.

    Bursts and delays don't move it; a camera's clock that runs up to 0.1 % slow or at any rate fast is followed.
    """

    def __init__(self) -> None:
        self._anchor_s = math.inf
        self._seen_s = math.inf

    def see(self, shown_s: float, arrived_s: float) -> None:
        """Takes note of a packet."""
        crept_s = self._anchor_s + DRIFT * max(0.0, arrived_s - self._seen_s)
        anchor_s = arrived_s - shown_s
        self._anchor_s = anchor_s if anchor_s - crept_s > MAX_ANCHOR_ERROR_S else min(crept_s, anchor_s)
        self._seen_s = arrived_s

    def unix(self, shown_s: float) -> float:
        """When the picture shown at this second of the stream was taken, at the latest."""
        return self._anchor_s + shown_s


Timeline = FileTimeline | LiveTimeline
