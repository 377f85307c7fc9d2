"""Recognises what a camera must not tell libav: libav alone follows every redirect. Knows no sockets."""

from __future__ import annotations

import re

from pipeline.cameras import SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network.url_redaction import redact

_REDIRECT = re.compile(rb"RTSP/[^\s]*\s+\+?0*3\d\d")  # everything that libav accepts as a redirect
_LOCATION = re.compile(rb"(?i)\nLocation: *([^\r\n]*)")
_WEB = re.compile(rb"(?i)\s*(HTTP/|<!DOCTYPE|<html)")
_TAIL_NBYTES = 8192  # of received data, because a response may arrive in two pieces


class ResponseGuard:
    """Reads the bytes of one connection before they are split into messages, as libav would read them."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._has_response = False
        self._tail = b""

    def check(self, data: bytes, *, is_playing: bool) -> None:
        """Raises SourceError for a redirect before the stream plays, and where a web server answers."""
        if not self._has_response and _WEB.match(data) is not None:
            text = f"{self._label}: a web server answers there, not RTSP: use http://, or the RTSP port (mostly 554)"
            raise SourceInvalid(text, SourceReason.NOT_VIDEO)
        self._has_response = True
        if is_playing:
            return
        self._tail = self._tail[-_TAIL_NBYTES:] + data
        if _REDIRECT.search(self._tail) is not None:
            location = _LOCATION.search(self._tail)
            target = redact(location[1].decode(errors="replace")) if location else "an unnamed URL"
            text = f"{self._label}: it redirects to {target}; redirects are not followed: use the camera's own URL"
            raise SourceUnreachable(text, SourceReason.REDIRECTED)
