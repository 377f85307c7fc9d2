"""Splits RTSP connections into messages and rewrites their transport from TCP to UDP. Knows no sockets."""

from __future__ import annotations

import ipaddress
import re

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable

UNSUPPORTED_TRANSPORT = 461
MAX_MESSAGE_NBYTES = 1 << 18
_MAX_SHOWN = 200  # characters of a camera's text that a message quotes
_HEAD_END = re.compile(rb"\n\r*\n")  # what libav accepts as the end of the headers
_BODY_NBYTES = re.compile(rb"(?i)\nContent-Length[ \t]*:[ \t]*(\d+)")
_STATUS = re.compile(rb"\s*RTSP/\S+\s+(\d{3})\b")
_SEQUENCE = re.compile(rb"(?i)(\nCSeq[ \t]*:[ \t]*)(\d{1,10})")
_TRANSPORT = re.compile(rb"(?i)(\nTransport[ \t]*:)([^\r\n]*)")
_CHANNELS = re.compile(rb"RTP/AVP/TCP;unicast;interleaved=(\d{1,3})-(\d{1,3})")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class MessageSplitter:
    """Splits one direction of a connection into requests or responses with bodies, and `$` packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, data: bytes) -> list[bytes]:
        """Takes received bytes; returns the messages that are complete. Raises ValueError for one that is too long."""
        self._buffer += data
        complete = []
        while (nbytes := _first_nbytes(self._buffer)) is not None:
            complete.append(bytes(self._buffer[:nbytes]))
            del self._buffer[:nbytes]
        if len(self._buffer) > MAX_MESSAGE_NBYTES:
            raise ValueError(f"an RTSP message exceeds {MAX_MESSAGE_NBYTES >> 10} KiB")
        return complete

    def take_rest(self) -> bytes:
        """Removes and returns the bytes of the incomplete message."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest


def _first_nbytes(buffer: bytearray) -> int | None:
    """The length of the first message, None if it is incomplete."""
    if buffer[:1] == b"$":
        nbytes = 4 + int.from_bytes(buffer[2:4], "big") if len(buffer) >= 4 else 4
    elif (end := _HEAD_END.search(buffer)) is not None:
        body = _BODY_NBYTES.search(buffer, 0, end.end())
        nbytes = end.end() + (int(body[1][:10]) if body else 0)
    else:
        return None
    return nbytes if len(buffer) >= nbytes else None


def status(message: bytes) -> int | None:
    """The status code of a response, None for any other message."""
    match = _STATUS.match(message)
    return int(match[1]) if match else None


def requested_channels(message: bytes) -> tuple[int, int] | None:
    """The channels for RTP and RTCP that a SETUP over TCP requests, None for any other message."""
    transport = _TRANSPORT.search(message) if message.startswith(b"SETUP ") else None
    match = _CHANNELS.search(transport[2]) if transport else None
    channels = (int(match[1]), int(match[2])) if match else None
    return channels if channels is not None and max(channels) < 256 else None


def with_udp_port(setup: bytes, port: int) -> bytes:
    """The same SETUP with UDP transport: RTP to the local `port`, RTCP to the next one."""
    return _with_transport(setup, f"RTP/AVP;unicast;client_port={port}-{port + 1}")


def with_channels(response: bytes, channels: tuple[int, int]) -> bytes:
    """The same response to a SETUP with TCP transport on these channels."""
    return _with_transport(response, "RTP/AVP/TCP;unicast;interleaved={}-{}".format(*channels))


def _with_transport(message: bytes, transport: str) -> bytes:
    return _TRANSPORT.sub(lambda header: header[1] + b" " + transport.encode(), message)


def server_ports(response: bytes, camera: str, *, label: str) -> tuple[int, int] | None:
    """The ports from which the camera at address `camera` sends RTP and RTCP, None if the response names none.

    Raises SourceError unless the transport is unicast UDP from the camera's own address.
    """
    header = _TRANSPORT.search(response)
    header_text = header[2].decode(errors="replace").strip() if header else ""
    protocol, *parameters = header_text.split(";")
    values = {name.strip().lower(): value.strip() for name, _, value in (one.partition("=") for one in parameters)}
    if protocol.strip().upper() not in ("RTP/AVP", "RTP/AVP/UDP") or "multicast" in values:
        text = f"{label}: asked for unicast UDP, it offers {header_text[:_MAX_SHOWN]!r}"
        raise SourceUnreachable(text, SourceReason.SERVER_ERROR)
    if not _is_same(values.get("source") or camera, camera):
        text = f"{label}: it would send from {values['source'][:_MAX_SHOWN]!r}; packets are accepted from {camera} only"
        raise SourceInvalid(text, SourceReason.ADDRESS_REFUSED)
    match = _PORTS.fullmatch(values.get("server_port", ""))
    if match is None:
        return None
    rtp = int(match[1])
    rtcp = int(match[2] or rtp + 1)
    return (rtp, rtcp) if 0 < rtp < 1 << 16 and 0 < rtcp < 1 << 16 else None


def _is_same(source: str, camera: str) -> bool:
    try:
        return ipaddress.ip_address(source) == ipaddress.ip_address(camera)
    except ValueError:  # a host name, which is not resolved
        return False


def renumber(message: bytes, by: int) -> bytes:
    """The same message with `by` added to its CSeq number."""
    return _SEQUENCE.sub(lambda header: header[1] + str(int(header[2]) + by).encode(), message, count=1)
