"""Puts RTP packets in order, follows one sender, writes the RTCP that keeps a camera sending. Knows no sockets."""

from __future__ import annotations

from pipeline.cameras import SourceInvalid, SourceReason

MAX_WAIT_S = 0.1  # libav's own limit for RTP over UDP
MAX_PACKETS = 500
MAX_NBYTES = 4 << 20  # a packet may have 64 KiB

FOLLOW_ANOTHER_AFTER_S = 1.0  # without a packet of the sender that is followed
_JPEG = 26  # payload type
_RTCP_TYPES = range(200, 208)

_MODULUS = 1 << 16  # of sequence numbers
_HEADER_NBYTES = 12


class ReorderBuffer:
    """Sorts the packets of one stream by sequence number. A packet waits at most MAX_WAIT_S for a missing one."""

    def __init__(self) -> None:
        self._next: int | None = None
        # By sequence number, in order of arrival; none is MAX_PACKETS or more ahead.
        self._waiting: dict[int, tuple[float, bytes]] = {}
        self._nbytes = 0  # of the waiting packets

    def add(self, packet: bytes, now_s: float) -> list[bytes]:
        """Takes a packet; returns the packets that are now in order. Drops late, repeated and malformed packets."""
        if len(packet) < _HEADER_NBYTES or packet[0] >> 6 != 2:
            return []
        number = int.from_bytes(packet[2:4], "big")
        first = number if self._next is None else self._next
        distance = (number - first) % _MODULUS
        ordered: list[bytes] = []
        if distance >= _MODULUS - MAX_PACKETS:
            return ordered
        if distance >= MAX_PACKETS:  # the camera restarted its numbers, or that many packets were lost
            ordered, first = self._take_range(first, MAX_PACKETS), number
        if number not in self._waiting:
            self._waiting[number] = now_s, packet
            self._nbytes += len(packet)
        return ordered + self._take_run(first) + self.take_overdue(now_s)

    def take_overdue(self, now_s: float) -> list[bytes]:
        """Packets that waited MAX_WAIT_S or exceed MAX_NBYTES; the missing ones before them are skipped."""
        ordered: list[bytes] = []
        while self._waiting and self._next is not None:
            number, (arrived_s, _) = next(iter(self._waiting.items()))
            if now_s - arrived_s < MAX_WAIT_S and self._nbytes <= MAX_NBYTES:
                break
            ordered += self._take_range(self._next, (number - self._next) % _MODULUS) + self._take_run(number)
        return ordered

    def _take_range(self, first: int, count: int) -> list[bytes]:
        """The waiting packets among `count` sequence numbers from `first` on."""
        packets = (self._take((first + step) % _MODULUS) for step in range(count))
        return [packet for packet in packets if packet is not None]

    def _take_run(self, first: int) -> list[bytes]:
        """The waiting packets from `first` up to the next gap."""
        run = []
        while (packet := self._take(first)) is not None:
            run.append(packet)
            first = (first + 1) % _MODULUS
        self._next = first
        return run

    def _take(self, number: int) -> bytes | None:
        if number not in self._waiting:
            return None
        _, packet = self._waiting.pop(number)
        self._nbytes -= len(packet)
        return packet


class SourceFilter:
    """Follows one sender (SSRC) of a channel, and another one only when this one is silent.

    Two senders on one channel number their packets independently: a reader would drop those of one of them as late.
    """

    def __init__(self) -> None:
        self.has_others = False  # while the sender that is followed goes on
        self._sender = b""
        self._newest_s = 0.0
        self._is_foreign = False  # the last packet

    def accepts(self, packet: bytes, now_s: float, *, start: int = 0) -> bool:
        """Whether the packet, from byte `start` on, belongs to the sender that is followed."""
        if len(packet) < start + _HEADER_NBYTES or packet[start + 1] in _RTCP_TYPES:
            return True
        sender = packet[start + 8 : start + 12]
        if sender != self._sender and self._sender and now_s - self._newest_s < FOLLOW_ANOTHER_AFTER_S:
            self._is_foreign = True
            return False
        self.has_others = self.has_others or (self._is_foreign and sender == self._sender)
        self._is_foreign, self._sender, self._newest_s = False, sender, now_s
        return True


def require_jpeg_size(packet: bytes, label: str, *, start: int = 0) -> None:
    """Raises SourceInvalid for a JPEG of more than 2,040 pixels: RTP (RFC 2435) has no place for its size."""
    if len(packet) < start + _HEADER_NBYTES + 8 or packet[start + 1] & 0x7F != _JPEG:
        return
    at = start + _HEADER_NBYTES + 4 * (packet[start] & 0x0F)
    if packet[start] & 0x10:  # a header extension
        at += 4 + 4 * int.from_bytes(packet[at + 2 : at + 4], "big")
    header = packet[at : at + 8]
    if len(header) == 8 and not any(header[1:4]) and 0 in header[6:8]:
        text = f"{label}: its JPEG pictures are wider or higher than RTP can say (2040 pixels)"
        raise SourceInvalid(f"{text}: choose a smaller size, or H.264, in the camera", SourceReason.TOO_LARGE)


def interleave(packet: bytes, channel: int) -> bytes:
    """A packet framed for an RTSP connection (RFC 2326, 10.12)."""
    return b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet


def greeting(ssrc: int) -> bytes:
    """An empty RTP packet. Sending it opens firewalls for the camera's packets."""
    return b"\x80" + bytes(7) + ssrc.to_bytes(4, "big")


def receiver_report(ssrc: int) -> bytes:
    """An empty RTCP receiver report with a name (RFC 3550, 6.4.2 and 6.5): a keep-alive."""
    source = ssrc.to_bytes(4, "big")
    name = b"\x01\x08" + f"{ssrc:08x}".encode() + bytes(2)
    return b"\x80\xc9\x00\x01" + source + b"\x81\xca\x00\x04" + source + name
