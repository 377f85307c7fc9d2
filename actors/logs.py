"""Log events: one line each on standard error; standard output carries answers only."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from actors.config.observability import LogFormat
from pipeline.network.redaction import REDACTOR

_PLAIN = (int, float, type(None))


def _redact_secrets(_: object, __: str, event: EventDict) -> EventDict:
    return {key: value if isinstance(value, _PLAIN) else REDACTOR.redact(str(value)) for key, value in event.items()}


def _leave_out_empty(_: object, __: str, event: EventDict) -> EventDict:
    """Fields that say nothing: `reason=` alone reads as if something was lost."""
    return {key: value for key, value in event.items() if value not in (None, "")}


_LOGFMT = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}


def _is_terminal() -> bool:
    with contextlib.suppress(ValueError):  # it may be closed
        return sys.stderr.isatty()
    return False


def _for_people(logger: object, name: str, event: EventDict) -> str:
    """One line of key=value; what is wrong stands out where a person reads it."""
    line = str(_LOGFMT(logger, name, event))
    colour = _COLOURS.get(str(event.get("level"))) if _is_terminal() else None
    return f"{colour}{line}\x1b[0m" if colour else line


_RENDERERS: dict[LogFormat, Processor] = {
    LogFormat.AUTO: _for_people,
    LogFormat.PLAIN: _LOGFMT,
    LogFormat.JSON: structlog.processors.JSONRenderer(sort_keys=False),
}


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


def log_to_stderr(
    level: int = logging.INFO,
    log_format: LogFormat = LogFormat.AUTO,
    *,
    shard: int | None = None,
    camera_fields: Callable[[str], Mapping[str, object]] = lambda _: {},
) -> None:
    """Writes events of at least this level to standard error, for the whole process.

    shard: stands in each of them. camera_fields: what stands in each that names a camera, by its name or id; what the
    event says itself counts, but for the name.
    """

    def add_shard(_: object, __: str, event: EventDict) -> EventDict:
        if shard is None:
            return event
        fields = camera_fields(str(event.get("camera") or event.get("camera_id") or ""))
        return {"shard": shard} | dict(fields) | dict(event) | {k: v for k, v in fields.items() if k == "camera"}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_shard,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_secrets,
            _leave_out_empty,
            _RENDERERS[log_format],
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )
    if not logging.root.handlers:
        libraries = logging.StreamHandler(sys.stderr)
        libraries.setLevel(logging.WARNING)
        logging.root.addHandler(libraries)
    for handler in logging.root.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setFormatter(_LibraryLines() if log_format is LogFormat.JSON else _RedactingFormatter())


class _LibraryLines(logging.Formatter):
    """Makes one JSON object of each message of a library."""

    def format(self, record: logging.LogRecord) -> str:
        return _as_object(super().format(record), level=record.levelname.lower(), logger=record.name)


def _as_object(text: str, **fields: object) -> str:
    """One JSON object with a text of a library or of another process, unless the text is one already."""
    redacted = REDACTOR.redact(text)
    with contextlib.suppress(ValueError):
        if isinstance(json.loads(redacted), dict):
            return redacted
    return json.dumps({"event": "output", "text": redacted} | fields)


# What Ray writes before a line of another process.
_PREFIX = re.compile(r"^(?:\x1b\[[0-9;]*m)*\([^()]*\bpid=\d+[^()]*\)(?:\x1b\[[0-9;]*m)* ")


class _JsonLines(io.TextIOBase):
    """A text stream whose lines become JSON objects, whoever writes them: Ray, a library, a message to a person."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = threading.local()  # a thread may write a line in parts

    def write(self, text: str) -> int:
        *lines, self._begun.text = (getattr(self._begun, "text", "") + text).split("\n")
        for line in filter(str.strip, lines):
            self._stream.write(_as_object(_PREFIX.sub("", line)) + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextlib.contextmanager
def json_lines(log_format: LogFormat) -> Iterator[None]:
    """During the block every line on standard output and error is a JSON object, where the format is JSON."""
    if log_format is not LogFormat.JSON:
        yield
        return
    with (
        contextlib.redirect_stdout(cast(TextIO, _JsonLines(sys.stdout))),
        contextlib.redirect_stderr(cast(TextIO, _JsonLines(sys.stderr))),
    ):
        yield
