"""RTSP as libav and cameras write it: cut into messages, and a stream's transport rewritten from one to the other.

Knows no sockets.
"""

from __future__ import annotations

import ipaddress
import re

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable

UNSUPPORTED_TRANSPORT = 461
MOST_NBYTES = 1 << 18  # of one message
_SHOWN = 200  # characters of what a camera says
_HEAD_END = re.compile(rb"\n\r*\n")  # as libav takes it
_BODY_NBYTES = re.compile(rb"(?i)\nContent-Length[ \t]*:[ \t]*(\d+)")
_STATUS = re.compile(rb"\s*RTSP/\S+\s+(\d{3})\b")
_NUMBER = re.compile(rb"(?i)(\nCSeq[ \t]*:[ \t]*)(\d{1,10})")
_TRANSPORT = re.compile(rb"(?i)(\nTransport[ \t]*:)([^\r\n]*)")
_CHANNELS = re.compile(rb"RTP/AVP/TCP;unicast;interleaved=(\d{1,3})-(\d{1,3})")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class MessageSplitter:
    """One direction of a connection: requests or answers, with their bodies, and `$` packets among them."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def add(self, data: bytes) -> list[bytes]:
        """What is whole by now. Raises ValueError for what grows too long."""
        self._rest += data
        whole = []
        while (nbytes := _nbytes(self._rest)) is not None:
            whole.append(bytes(self._rest[:nbytes]))
            del self._rest[:nbytes]
        if len(self._rest) > MOST_NBYTES:
            raise ValueError(f"an RTSP message of more than {MOST_NBYTES >> 10} KiB")
        return whole

    def take_rest(self) -> bytes:
        """What is not whole yet, taken out."""
        rest, self._rest = bytes(self._rest), bytearray()
        return rest


def _nbytes(buffer: bytearray) -> int | None:
    """The length of the first message, None if that is not whole."""
    if buffer[:1] == b"$":
        nbytes = 4 + int.from_bytes(buffer[2:4], "big") if len(buffer) >= 4 else 4
    elif (end := _HEAD_END.search(buffer)) is not None:
        body = _BODY_NBYTES.search(buffer, 0, end.end())
        nbytes = end.end() + (int(body[1][:10]) if body else 0)
    else:
        return None
    return nbytes if len(buffer) >= nbytes else None


def status(message: bytes) -> int | None:
    """The status of an answer, None for anything else."""
    found = _STATUS.match(message)
    return int(found[1]) if found else None


def channels_asked(message: bytes) -> tuple[int, int] | None:
    """The channels on which a SETUP wants RTP and RTCP, None for any other message."""
    transport = _TRANSPORT.search(message) if message.startswith(b"SETUP ") else None
    found = _CHANNELS.search(transport[2]) if transport else None
    channels = (int(found[1]), int(found[2])) if found else None
    return channels if channels is not None and max(channels) < 256 else None


def asking_udp(setup: bytes, port: int) -> bytes:
    """The same SETUP, for RTP at this port of ours and RTCP at the next."""
    return _with_transport(setup, f"RTP/AVP;unicast;client_port={port}-{port + 1}")


def giving_channels(answer: bytes, channels: tuple[int, int]) -> bytes:
    """The same answer to a SETUP, as if it had granted these channels."""
    return _with_transport(answer, "RTP/AVP/TCP;unicast;interleaved={}-{}".format(*channels))


def _with_transport(message: bytes, transport: str) -> bytes:
    return _TRANSPORT.sub(lambda header: header[1] + b" " + transport.encode(), message)


def ports_granted(answer: bytes, camera: str, *, label: str) -> tuple[int, int] | None:
    """The ports from which a camera at an address will send RTP and RTCP to us alone, None if it does not say.

    Raises SourceError if it will not, or not from its own address.
    """
    header = _TRANSPORT.search(answer)
    said = header[2].decode(errors="replace").strip() if header else ""
    protocol, *parameters = said.split(";")
    known = {name.strip().lower(): value.strip() for name, _, value in (one.partition("=") for one in parameters)}
    if protocol.strip().upper() not in ("RTP/AVP", "RTP/AVP/UDP") or "multicast" in known:
        text = f"{label}: asked to send to us alone over UDP, it offers {said[:_SHOWN]!r}"
        raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
    if not _is_same(known.get("source") or camera, camera):
        text = f"{label}: it would send from {known['source'][:_SHOWN]!r}, and only {camera} itself is listened to"
        raise SourceInvalid(text, SourceReason.ADDRESS_REFUSED)
    found = _PORTS.fullmatch(known.get("server_port", ""))
    if found is None:
        return None
    rtp = int(found[1])
    rtcp = int(found[2] or rtp + 1)
    return (rtp, rtcp) if 0 < rtp < 1 << 16 and 0 < rtcp < 1 << 16 else None


def _is_same(source: str, camera: str) -> bool:
    try:
        return ipaddress.ip_address(source) == ipaddress.ip_address(camera)
    except ValueError:  # a name: whose it is would have to be asked
        return False


def renumbered(message: bytes, by: int) -> bytes:
    """The same message with so much added to its sequence number."""
    return _NUMBER.sub(lambda header: header[1] + str(int(header[2]) + by).encode(), message, count=1)
