"""RTP packets in order, and the RTCP that tells a camera that somebody listens. Knows no sockets and no clock."""

from __future__ import annotations

# As libav waits for RTP over UDP.
WAIT_S = 0.1
MOST_HELD = 500
MOST_HELD_NBYTES = 4 << 20  # a packet may have 64 KiB

_NUMBERS = 1 << 16
_HEADER_NBYTES = 12


class ReorderBuffer:
    """Packets of one stream by their sequence numbers; none waits longer than WAIT_S for one that is missing."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, tuple[float, bytes]] = {}  # in order of arrival; none MOST_HELD or more ahead
        self._nbytes = 0  # of these

    def add(self, packet: bytes, now_s: float) -> list[bytes]:
        """What is in order by now. A packet that is late, known or no RTP is dropped."""
        if len(packet) < _HEADER_NBYTES or packet[0] >> 6 != 2:
            return []
        number = int.from_bytes(packet[2:4], "big")
        first = number if self._next is None else self._next
        ahead = (number - first) % _NUMBERS
        given: list[bytes] = []
        if ahead >= _NUMBERS - MOST_HELD:
            return given
        if ahead >= MOST_HELD:  # the camera counts anew, or as much was lost
            given, first = self._held_from(first, MOST_HELD), number
        if number not in self._held:
            self._held[number] = now_s, packet
            self._nbytes += len(packet)
        return given + self._run_from(first) + self.overdue(now_s)

    def overdue(self, now_s: float) -> list[bytes]:
        """What has waited long enough, or is too much; what is missing before it is passed over."""
        given: list[bytes] = []
        while self._held and self._next is not None:
            number, (came_s, _) = next(iter(self._held.items()))
            if now_s - came_s < WAIT_S and self._nbytes <= MOST_HELD_NBYTES:
                break
            given += self._held_from(self._next, (number - self._next) % _NUMBERS) + self._run_from(number)
        return given

    def _held_from(self, first: int, numbers: int) -> list[bytes]:
        """Those of so many numbers that are there."""
        packets = (self._take((first + step) % _NUMBERS) for step in range(numbers))
        return [packet for packet in packets if packet is not None]

    def _run_from(self, first: int) -> list[bytes]:
        """Those without a gap; the next one is then the first that is missing."""
        given = []
        while (packet := self._take(first)) is not None:
            given.append(packet)
            first = (first + 1) % _NUMBERS
        self._next = first
        return given

    def _take(self, number: int) -> bytes | None:
        if number not in self._held:
            return None
        _, packet = self._held.pop(number)
        self._nbytes -= len(packet)
        return packet


def interleaved(packet: bytes, channel: int) -> bytes:
    """A packet as it comes on an RTSP connection."""
    return b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet


def greeting(ssrc: int) -> bytes:
    """An RTP packet without content, by which firewalls learn where RTP will come from."""
    return b"\x80" + bytes(7) + ssrc.to_bytes(4, "big")


def receiver_report(ssrc: int) -> bytes:
    """That we are there, in RTCP (RFC 3550, 6.4.2 and 6.5); it reports on nobody."""
    who = ssrc.to_bytes(4, "big")
    name = b"\x01\x08" + f"{ssrc:08x}".encode() + bytes(2)
    return b"\x80\xc9\x00\x01" + who + b"\x81\xca\x00\x04" + who + name
