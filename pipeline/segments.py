"""Cuts a stream of packets into segments that decode alone. Plain Python: knows neither codecs nor clocks."""

from __future__ import annotations

from dataclasses import dataclass

PACKET_NBYTES = 1 << 10  # what even an empty packet costs


@dataclass(frozen=True, slots=True)
class Packet:
    """One compressed picture. Times in seconds of the stream; `body` belongs to the demuxer that made it."""

    shown_s: float
    decoded_s: float
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


class Cutter:
    """Turns packets into segments: one for each group of pictures, several for a long one.

    A group longer than `segment_s` is cut each time that much more of it has come, at the cost of decoding it from its
    key frame again. Pictures that lean on an earlier group (open groups), that come before the first key frame or
    beyond `max_gop_s` or `max_gop_bytes` are left out and counted in `missing`.
    """

    def __init__(self, segment_s: float, max_gop_s: float, max_gop_bytes: int, *, is_intra: bool = False) -> None:
        self.segment_s = segment_s
        self.missing = 0
        self._max_gop_s = max_gop_s
        self._max_gop_bytes = max_gop_bytes
        self._is_intra = is_intra
        self._gop: list[Packet] = []
        self._nbytes = 0
        self._cut_s = 0.0
        self._is_given = True

    def add(self, packet: Packet) -> Segment | None:
        """Takes the next packet; returns the segment that is complete with or before it, if one is."""
        if packet.is_key:
            done = self.finish()
            self._begin(packet)
            return self.finish() if self._is_intra else done
        if not self._gop or packet.shown_s < self._gop[0].shown_s:
            self.missing += 1
            return None
        if self._is_too_long(packet):
            done = self.finish()
            self.missing += 1
            return done
        return self._append(packet)

    def finish(self) -> Segment | None:
        """The segment of what has not been given yet, if anything."""
        done = None if self._is_given else self._segment()
        self._gop, self._is_given = [], True
        return done

    def _begin(self, packet: Packet) -> None:
        self._gop, self._nbytes = [packet], packet.nbytes + PACKET_NBYTES
        self._cut_s, self._is_given = packet.decoded_s, False

    def _append(self, packet: Packet) -> Segment | None:
        self._gop.append(packet)
        self._nbytes += packet.nbytes + PACKET_NBYTES
        self._is_given = packet.decoded_s - self._cut_s >= self.segment_s
        if not self._is_given:
            return None
        self._cut_s = packet.decoded_s
        return self._segment()

    def _is_too_long(self, packet: Packet) -> bool:
        is_late = packet.decoded_s - self._gop[0].decoded_s > self._max_gop_s
        return is_late or self._nbytes + packet.nbytes + PACKET_NBYTES > self._max_gop_bytes

    def _segment(self) -> Segment:
        packets = tuple(self._gop)
        return Segment(packets, tuple(sorted(packet.shown_s for packet in packets if packet.is_visible)))
