"""Repairs the timestamps of a stream and maps them to the clock by which its packets arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STEP_BACK_S = 1.0  # a larger step is a restart of the stream's clock; a smaller one too, if a key frame takes it
MAX_STEP_AHEAD_S = 30.0
MAX_DRIFT = 1e-3  # by this share a camera's clock may run slower than the local one
MAX_ANCHOR_ERROR_S = 30.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """Presentation and decode time of a packet, in seconds of the stream."""

    pts_s: float
    dts_s: float


class PacketClock:
    """Stamps packets so that decode times never run back. Repairs missing, repeated and jumping timestamps."""

    def __init__(self, frame_duration_s: float) -> None:
        self._frame_duration_s = frame_duration_s
        self._offset_s = 0.0
        self._last_s: float | None = None
        self._last_raw_s: float | None = None

    def stamp(self, pts_s: float | None, dts_s: float | None, *, is_key: bool = False) -> Stamp:
        """The stamp of the next packet in decode order. Without a timestamp it is one frame after the last packet.

        What is shown before a key frame precedes it in decode order too, so a key frame that steps back begins a new
        piece of the stream. Encoders that restart and HLS discontinuities do that every second or more often.
        """
        raw_s = dts_s if dts_s is not None else pts_s
        if self._last_s is None:
            decoded_s = raw_s if raw_s is not None else 0.0
        elif raw_s is None or raw_s == self._last_raw_s:
            decoded_s, pts_s = self._last_s + self._frame_duration_s, None
        else:
            decoded_s = self._follow(self._last_s, raw_s, is_key=is_key)
        self._last_s, self._last_raw_s = decoded_s, raw_s
        return Stamp(decoded_s if pts_s is None else pts_s + self._offset_s, decoded_s)

    def _follow(self, last_s: float, raw_s: float, *, is_key: bool) -> float:
        step_s = raw_s + self._offset_s - last_s
        if not (0 if is_key else -MAX_STEP_BACK_S) <= step_s <= MAX_STEP_AHEAD_S:
            self._offset_s += self._frame_duration_s - step_s
        return max(last_s, raw_s + self._offset_s)


class FileTimeline:
    """Time of a recording that starts at `start_s` with its first packet."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._first_s: float | None = None

    def add(self, pts_s: float, arrived_s: float) -> None:
        """Takes the stream time of a packet and the time of its arrival."""
        if self._first_s is None:
            self._first_s = pts_s

    def unix(self, pts_s: float) -> float:
        """The time of a frame that is shown at `pts_s` of the stream."""
        return self._start_s + pts_s - (self._first_s or 0.0)


def recording_start_s(added_s: float, duration_s: float | None, *, is_fast: bool) -> float:
    """When a recording begins of a camera that was added at `added_s`: then, or at fast pace so that it ends then.

    A recording of unknown length begins then at either pace.
    """
    return added_s - (duration_s or 0.0) if is_fast else added_s


class LiveTimeline:
    """Time of a live stream. The packet with the shortest delay sets the offset between the two clocks.

    Bursts and delays do not move the offset. A camera's clock may run up to 0.1 % slow, or fast by any rate.
    """

    def __init__(self) -> None:
        self._anchor_s = math.inf
        self._last_arrival_s = math.inf

    def add(self, pts_s: float, arrived_s: float) -> None:
        """Takes the stream time of a packet and the time of its arrival."""
        drifted_s = self._anchor_s + MAX_DRIFT * max(0.0, arrived_s - self._last_arrival_s)
        anchor_s = arrived_s - pts_s
        self._anchor_s = anchor_s if anchor_s - drifted_s > MAX_ANCHOR_ERROR_S else min(drifted_s, anchor_s)
        self._last_arrival_s = arrived_s

    def unix(self, pts_s: float) -> float:
        """The latest possible time of a frame that is shown at `pts_s` of the stream."""
        return self._anchor_s + pts_s


Timeline = FileTimeline | LiveTimeline
