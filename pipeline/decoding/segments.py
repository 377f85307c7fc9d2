"""Splits a stream of packets into segments that decode on their own. Knows neither codecs nor clocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PACKET_NBYTES = 1 << 10  # overhead of a packet in memory
REGULAR_KEYS = 2  # key frames on time in a row until the next one is expected to be on time


@dataclass(frozen=True, slots=True)
class Packet:
    """One compressed frame. pts_s, dts_s: presentation and decode time, in seconds. body: the demuxer's packet."""

    pts_s: float
    dts_s: float
    is_key: bool
    nbytes: int
    body: object
    is_visible: bool = True  # some codecs have frames that are only references


@dataclass(frozen=True, slots=True)
class Segment:
    """Packets that decode on their own, from a key frame on, in decode order.

    times_s: presentation times of its visible frames, ascending. A long group of pictures (GOP) becomes several
    segments, each from the key frame on, so that later ones repeat the times of earlier ones.
    """

    packets: tuple[Packet, ...]
    times_s: tuple[float, ...]


class GopSplitter:
    """Turns packets into segments: one for each group of pictures (GOP), several for a long one.

    A GOP longer than `segment_s` gives a segment each time that it grew by as much, at the cost of decoding it from
    its key frame again. Frames that need an earlier GOP (open GOPs), frames before the first key frame, and frames
    beyond `max_gop_s` or `max_gop_bytes` are left out and counted in `missing`, the last ones in `over_limit` too.

    If key frames come at most `max_key_gap_s` apart, each is emitted alone, at once. The frames after it are buffered
    only in case the next key frame is late: then the whole GOP is emitted.
    """

    def __init__(
        self,
        segment_s: float,
        max_gop_s: float,
        max_gop_bytes: int,
        *,
        is_intra: bool = False,
        max_key_gap_s: float = 0.0,
    ) -> None:
        self.segment_s = segment_s
        self.max_key_gap_s = max_key_gap_s
        self.missing = self.over_limit = 0
        self._max_gop_s = max_gop_s
        self._max_gop_bytes = max_gop_bytes
        self._is_intra = is_intra
        self._gop: list[Packet] = []
        self._nbytes = 0
        self._cut_s = 0.0  # decode time up to which the GOP was emitted
        self._is_emitted = True
        self._last_key_s = -math.inf
        self._regular_keys = 0

    def add(self, packet: Packet) -> Segment | None:
        """Adds the next packet; returns the segment that is complete with or before it, if any."""
        if packet.is_key:
            is_slow = bool(self._gop) and packet.dts_s - self._gop[-1].dts_s >= self.segment_s
            segment = self.flush()
            self._begin(packet)
            if self._is_intra:
                return self.flush()
            # One segment at a time: if a key frame ends a whole GOP, it is emitted with the packet after it.
            # A key frame of a camera with few frames would be too old with the packet after it.
            return self._emit_key() if segment is None and (is_slow or self._emits_keys()) else segment
        if not self._gop or packet.pts_s < self._gop[0].pts_s:
            self.missing += 1
            return None
        if self._is_too_long(packet):
            segment = self.flush()
            self.missing += 1
            self.over_limit += 1
            return segment
        return self._follow_key(packet) if self._emits_keys() else self._append(packet)

    def emit_keys_only(self) -> None:
        """From now on emits each key frame alone, however far apart they are, and no other frame."""
        self._is_intra = True
        self._gop, self._is_emitted = [], True

    def flush(self) -> Segment | None:
        """The segment of the packets that were not emitted yet, if any."""
        segment = None if self._is_emitted else _segment_of(self._gop)
        self._gop, self._is_emitted = [], True
        return segment

    def _emits_keys(self) -> bool:
        return self._regular_keys >= REGULAR_KEYS

    def _emit_key(self) -> Segment:
        self._is_emitted = True
        return _segment_of(self._gop[:1])

    def _follow_key(self, packet: Packet) -> Segment | None:
        segment = None if self._is_emitted else self._emit_key()
        self._gop.append(packet)
        self._nbytes += packet.nbytes + PACKET_NBYTES
        if packet.pts_s - self._gop[0].pts_s > self.max_key_gap_s:
            self._regular_keys, self._is_emitted = 0, False
        return segment

    def _begin(self, packet: Packet) -> None:
        is_regular = 0 < packet.pts_s - self._last_key_s <= self.max_key_gap_s
        self._regular_keys = self._regular_keys + 1 if is_regular else 0
        self._last_key_s = packet.pts_s
        self._gop, self._nbytes = [packet], packet.nbytes + PACKET_NBYTES
        self._cut_s, self._is_emitted = packet.dts_s, False

    def _append(self, packet: Packet) -> Segment | None:
        self._gop.append(packet)
        self._nbytes += packet.nbytes + PACKET_NBYTES
        self._is_emitted = packet.dts_s - self._cut_s >= self.segment_s
        if not self._is_emitted:
            return None
        self._cut_s = packet.dts_s
        return _segment_of(self._gop)

    def _is_too_long(self, packet: Packet) -> bool:
        is_late = packet.dts_s - self._gop[0].dts_s > self._max_gop_s
        return is_late or self._nbytes + packet.nbytes + PACKET_NBYTES > self._max_gop_bytes


def _segment_of(packets: Sequence[Packet]) -> Segment:
    return Segment(tuple(packets), tuple(sorted(packet.pts_s for packet in packets if packet.is_visible)))
