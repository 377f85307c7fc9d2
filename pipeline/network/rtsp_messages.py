"""Splits RTSP connections into messages, reads their parts and rewrites them. Knows no sockets."""

from __future__ import annotations

import ipaddress
import re

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable

UNSUPPORTED_TRANSPORT = 461
MAX_MESSAGE_NBYTES = 1 << 18
_MAX_SHOWN = 200  # characters of a camera's text that a message quotes
_HEAD_END = re.compile(rb"\n\r*\n")  # what libav accepts as the end of the headers
_BODY_NBYTES = re.compile(rb"(?i)\nContent-Length[ \t]*:[ \t]*(\d+)")
_STATUS = re.compile(rb"\s*RTSP/\S+\s+\+?0*(\d{3})\b")
_REQUEST = re.compile(rb"([A-Z_]+) +(\S+) +RTSP/")
_SEQUENCE = re.compile(rb"(?i)\nCSeq[ \t]*:[ \t]*(\d{1,9})")
_TRANSPORT = re.compile(rb"(?i)(\nTransport[ \t]*:)([^\r\n]*)")
_CHANNELS = re.compile(rb"RTP/AVP/TCP;unicast;interleaved=(\d{1,3})-(\d{1,3})")
_GRANTED_CHANNELS = re.compile(rb"(?i)interleaved[ \t]*=[ \t]*\"?(\d{1,3})(?:[ \t]*-[ \t]*(\d{1,3}))?")
_SESSION = re.compile(r"\s*\"?([^\s;\"]*)\"?(.*)")
_SESSION_LIMIT = re.compile(r"(?i)timeout\s*=\s*\"?(\d{1,9})")
_DEFAULT_SESSION_S = 60  # RFC 2326, 12.37
_MEDIA = re.compile(rb"(?im)^(?=m=)")
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


def method(message: bytes) -> bytes:
    """The method of a request, b"" for any other message."""
    match = _REQUEST.match(message)
    return match[1] if match else b""


def uri(message: bytes) -> bytes:
    """The URI of a request, b"" for any other message."""
    match = _REQUEST.match(message)
    return match[2] if match else b""


def with_base(request: bytes, old: bytes, new: bytes) -> bytes:
    """The same request of a URL that begins with `new` where it began with `old`."""
    target = uri(request)
    is_below = target.startswith(old) and target[len(old) : len(old) + 1] in (b"", b"/", b"?")
    return request.replace(target, new + target[len(old) :], 1) if is_below else request


def sequence_number(message: bytes) -> int | None:
    """The CSeq number of a message, None without one."""
    match = _SEQUENCE.search(_head(message))
    return int(match[1]) if match else None


def headers(message: bytes, name: bytes) -> list[str]:
    """The values of all headers of this name."""
    values = re.findall(rb"(?i)\n" + re.escape(name) + rb"[ \t]*:[ \t]*([^\r\n]*)", _head(message))
    return [value.decode(errors="replace") for value in values]


def with_header(message: bytes, name: bytes, value: bytes) -> bytes:
    """The same message with this header, in the place of the first one of its name."""
    head = _head(message)
    line, is_new = name + b": " + value, re.compile(rb"(?i)(?<=\n)" + re.escape(name) + rb"[ \t]*:[^\r\n]*")
    rewritten, count = is_new.subn(lambda _: line, head, count=1)
    if not count:
        first, end, rest = head.partition(b"\n")
        rewritten = first + end + line + b"\r\n" + rest
    return rewritten + message[len(head) :]


def _head(message: bytes) -> bytes:
    end = _HEAD_END.search(message)
    return message[: end.end()] if end else message


def session(response: bytes) -> tuple[str, int]:
    """The id of the session, "" without one, and the seconds after which the camera ends it without a keep-alive."""
    found = next((_SESSION.match(value) for value in headers(response, b"Session")), None)
    if found is None:
        return "", _DEFAULT_SESSION_S
    limit = _SESSION_LIMIT.search(found[2])
    return found[1], (int(limit[1]) if limit else 0) or _DEFAULT_SESSION_S


def with_video_only(description: bytes) -> bytes:
    """The same response to a DESCRIBE without what is no video: it costs bandwidth, and its SETUP may fail."""
    head = _head(description)
    session_part, *media = _MEDIA.split(description[len(head) :])
    video = [part for part in media if part[:8].lower() == b"m=video "]
    if not video or len(media) == 1:
        return description
    body = session_part + video[0]
    return with_header(head, b"Content-Length", str(len(body)).encode()) + body


def requested_channels(message: bytes) -> tuple[int, int] | None:
    """The channels for RTP and RTCP that a SETUP over TCP requests, None for any other message."""
    transport = _TRANSPORT.search(message) if message.startswith(b"SETUP ") else None
    match = _CHANNELS.search(transport[2]) if transport else None
    channels = (int(match[1]), int(match[2])) if match else None
    return channels if channels is not None and max(channels) < 256 else None


def granted_channels(response: bytes, requested: tuple[int, int]) -> tuple[int, int] | None:
    """The channels for RTP and RTCP that a camera uses after a SETUP over TCP, None if it uses another transport.

    Some name none, or the higher one first.
    """
    transport = next(iter(headers(response, b"Transport")), "RTP/AVP/TCP")
    if "TCP" not in transport.upper():
        return None
    match = _GRANTED_CHANNELS.search(transport.encode())
    if match is None:
        return requested
    first, second = int(match[1]), int(match[2] or int(match[1]) + 1)
    channels = min(first, second), max(first, second)
    return channels if channels[0] < channels[1] < 256 else requested


def with_udp_port(setup: bytes, port: int) -> bytes:
    """The same SETUP with UDP transport: RTP to the local `port`, RTCP to the next one."""
    return with_header(setup, b"Transport", b"RTP/AVP;unicast;client_port=%d-%d" % (port, port + 1))


def with_channels(response: bytes, channels: tuple[int, int]) -> bytes:
    """The same response to a SETUP with TCP transport on these channels."""
    return with_header(response, b"Transport", b"RTP/AVP/TCP;unicast;interleaved=%d-%d" % channels)


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
