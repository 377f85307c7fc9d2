"""Log events: one line each on standard error; standard output carries answers only."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog

from pipeline.network.redaction import REDACTOR

_PLAIN = (int, float, type(None))


def _redact_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value if isinstance(value, _PLAIN) else REDACTOR.redact(str(value)) for key, value in event.items()}


class _RedactingFormatter(logging.Formatter):
    """Formats the log lines of libraries with the secrets of this system removed."""

    def format(self, record: logging.LogRecord) -> str:
        return REDACTOR.redact(super().format(record))


class _Stderr:
    """Standard error as it is at that moment. What cannot be written, e.g. on a full disk, is lost and raises nothing:
    a line must not end the thread that logs it.
    """

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def log_to_stderr(level: int = logging.INFO) -> None:
    """Writes events of at least this level to standard error, for the whole process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_secrets,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )
    if not logging.root.handlers:
        libraries = logging.StreamHandler(sys.stderr)
        libraries.setLevel(logging.WARNING)
        libraries.setFormatter(_RedactingFormatter())
        logging.root.addHandler(libraries)
