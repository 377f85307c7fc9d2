"""What all output shares: printable text, names, times and facts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from protos import hermes_v1_pb2 as pb

STATE_STYLES: dict[int, str] = {
    pb.CAMERA_STATE_LIVE: "green",
    pb.CAMERA_STATE_ENDED: "blue",
    pb.CAMERA_STATE_CONNECTING: "yellow",
    pb.CAMERA_STATE_RECOVERING: "yellow",
    pb.CAMERA_STATE_WAITING: "yellow",
    pb.CAMERA_STATE_STALLED: "yellow",
    pb.CAMERA_STATE_BACKING_OFF: "yellow",
    pb.CAMERA_STATE_FAILED: "red",
}


def printable(text: str) -> str:
    """One line: text of a model or a camera without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, but the text may have several lines."""
    return "\n".join(map(printable, text.split("\n")))


def state_name(state: int) -> str:
    """live, ended, …"""
    return pb.CameraState.Name(state).removeprefix("CAMERA_STATE_").lower()


def reason_name(reason: int) -> str | None:
    """no_answer, unauthorized, …; None if there is none."""
    return pb.SourceReason.Name(reason).removeprefix("SOURCE_REASON_").lower() if reason else None


def note_name(note: int) -> str | None:
    """picture_black, …; None if nothing is wrong with the picture."""
    return pb.PictureNote.Name(note).removeprefix("PICTURE_NOTE_").lower() if note else None


def as_json(value: object) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def shortened(text: str, length: int) -> str:
    """The text, without its middle if it is longer: the two ends tell cameras apart."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - tail :]}"


def facts(rows: dict[str, str]) -> Table:
    """One fact in each row: its name and its value."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(printable(value)))
    return table


def gap_json(gap: pb.Gap) -> dict[str, Any]:
    """A gap for programs."""
    return {"start": iso(utc(gap.start)), "end": iso(utc(gap.end)), "reason": gap.reason}


def store_note(response: pb.ListCamerasResponse | pb.ListShardsResponse) -> str | None:
    """That the server is cut off from its store, and what that means; None if it is not."""
    if not response.HasField("store_away_since"):
        return None
    since = dated(utc(response.store_away_since))
    return f"the store has not answered since {since}: answers go on, changes and checkpoints wait"


def memory_time(memory: pb.MemoryStatus, name: str) -> datetime | None:
    """The time in this field, None if it is not set."""
    return utc(getattr(memory, name)) if memory.HasField(name) else None


def utc(stamp: Timestamp) -> datetime:
    """The time of a message."""
    return stamp.ToDatetime(tzinfo=UTC)


def iso(at: datetime | None) -> str | None:
    """The time in UTC as ISO 8601, None if there is none."""
    return None if at is None else at.isoformat(timespec="milliseconds")


def clock_time(at: datetime, *, beside: datetime | None = None) -> str:
    """The local time of day; with the date, and zone, if it is beside a time of another day."""
    local = at.astimezone()
    is_other_day = beside is not None and beside.astimezone().date() != local.date()
    return dated(at) if is_other_day else local.strftime("%H:%M:%S")


def dated(at: datetime) -> str:
    """The local date and time with the zone; the year where it is not this one."""
    local = at.astimezone()
    year = "" if local.year == datetime.now(UTC).astimezone().year else "%Y-"
    return local.strftime(f"{year}%m-%d %H:%M:%S %Z")
