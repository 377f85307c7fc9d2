"""Cuts a stream of packets into segments that decode alone. Plain Python: knows neither codecs nor clocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PACKET_NBYTES = 1 << 10  # what even an empty packet costs
REGULAR_KEYS = 2  # so many key frames in a row on time, and the next is expected to be


@dataclass(frozen=True, slots=True)
class Packet:
    """One compressed picture. Times in seconds of the stream; `body` belongs to the demuxer that made it."""

    pts_s: float
    dts_s: float
    is_key: bool
    nbytes: int
    body: object
    is_visible: bool = True  # some codecs carry pictures that only others refer to


@dataclass(frozen=True, slots=True)
class Segment:
    """Packets from a key frame on, in decode order, that decode without any other.

    times_s: when its visible pictures are shown, ascending. A segment that is cut from a longer group of pictures
    starts at the group's key frame again, so it repeats the times of those before it.
    """

    packets: tuple[Packet, ...]
    times_s: tuple[float, ...]


class GopSplitter:
    """Turns packets into segments: one for each group of pictures, several for a long one.

    A group longer than `segment_s` is cut each time that much more of it has come, at the cost of decoding it from its
    key frame again. Pictures that lean on an earlier group (open groups), that come before the first key frame or
    beyond `max_gop_s` or `max_gop_bytes` are left out and counted in `missing`, the latter in `beyond` too.

    Where key frames were seen to come at most `max_key_gap_s` apart, each is given alone, at once. What follows it is
    held only in case the next one is late: then the group is given as any other.
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
        self._cut_s = 0.0
        self._is_given = True
        self._last_key_s = -math.inf
        self._regular_keys = 0

    def add(self, packet: Packet) -> Segment | None:
        """Takes the next packet; returns the segment that is complete with or before it, if one is."""
        if packet.is_key:
            done = self.flush()
            self._begin(packet)
            if self._is_intra:
                return self.flush()
            # One segment at a time: a key frame that ends a whole group is given with the packet after it.
            return self._key_alone() if done is None and self._gives_keys() else done
        if not self._gop or packet.pts_s < self._gop[0].pts_s:
            self.missing += 1
            return None
        if self._is_too_long(packet):
            done = self.flush()
            self.missing += 1
            self.over_limit += 1
            return done
        return self._follow_key(packet) if self._gives_keys() else self._append(packet)

    def emit_keys_only(self) -> None:
        """From now on each key frame is given alone, however far apart they are, and nothing else."""
        self._is_intra = True
        self._gop, self._is_given = [], True

    def flush(self) -> Segment | None:
        """The segment of what has not been given yet, if anything."""
        done = None if self._is_given else _segment_of(self._gop)
        self._gop, self._is_given = [], True
        return done

    def _gives_keys(self) -> bool:
        return self._regular_keys >= REGULAR_KEYS

    def _key_alone(self) -> Segment:
        self._is_given = True
        return _segment_of(self._gop[:1])

    def _follow_key(self, packet: Packet) -> Segment | None:
        key = None if self._is_given else self._key_alone()
        self._gop.append(packet)
        self._nbytes += packet.nbytes + PACKET_NBYTES
        if packet.pts_s - self._gop[0].pts_s > self.max_key_gap_s:
            self._regular_keys, self._is_given = 0, False
        return key

    def _begin(self, packet: Packet) -> None:
        is_regular = 0 < packet.pts_s - self._last_key_s <= self.max_key_gap_s
        self._regular_keys = self._regular_keys + 1 if is_regular else 0
        self._last_key_s = packet.pts_s
        self._gop, self._nbytes = [packet], packet.nbytes + PACKET_NBYTES
        self._cut_s, self._is_given = packet.dts_s, False

    def _append(self, packet: Packet) -> Segment | None:
        self._gop.append(packet)
        self._nbytes += packet.nbytes + PACKET_NBYTES
        self._is_given = packet.dts_s - self._cut_s >= self.segment_s
        if not self._is_given:
            return None
        self._cut_s = packet.dts_s
        return _segment_of(self._gop)

    def _is_too_long(self, packet: Packet) -> bool:
        is_late = packet.dts_s - self._gop[0].dts_s > self._max_gop_s
        return is_late or self._nbytes + packet.nbytes + PACKET_NBYTES > self._max_gop_bytes


def _segment_of(packets: Sequence[Packet]) -> Segment:
    return Segment(tuple(packets), tuple(sorted(packet.pts_s for packet in packets if packet.is_visible)))
