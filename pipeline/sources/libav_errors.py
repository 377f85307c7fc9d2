"""What libav's errors mean, as the reasons that operators see."""

from __future__ import annotations

import av
from av.error import FFmpegError

from pipeline.cameras import SourceReason
from pipeline.network.http_auth import LOGIN_HINT

_NO_VIDEO = (av.error.InvalidDataError, av.error.ArgumentError)  # ArgumentError: the format is not in the whitelist
_REASONS: tuple[tuple[type[Exception], SourceReason], ...] = (
    (av.error.HTTPUnauthorizedError, SourceReason.UNAUTHORIZED),
    (av.error.HTTPForbiddenError, SourceReason.FORBIDDEN),
    (av.error.HTTPNotFoundError, SourceReason.NOT_FOUND),
    (av.error.HTTPClientError, SourceReason.SERVER_ERROR),
    (av.error.HTTPError, SourceReason.SERVER_ERROR),
    (ConnectionRefusedError, SourceReason.CONNECTION_REFUSED),
    (av.error.EOFError, SourceReason.BROKE_OFF),
    (ConnectionError, SourceReason.BROKE_OFF),
    (TimeoutError, SourceReason.NO_ANSWER),
)


def explain(error: FFmpegError) -> tuple[str, SourceReason]:
    """The error in words, and its reason."""
    if isinstance(error, _NO_VIDEO):
        return "no video, or damaged video", SourceReason.NOT_VIDEO
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), SourceReason.UNKNOWN)
    text = error.strerror or type(error).__name__
    return f"{text}; {LOGIN_HINT}" if reason is SourceReason.UNAUTHORIZED else text, reason
