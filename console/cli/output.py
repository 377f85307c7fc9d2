"""Cameras as lines, tables and JSON, and what all output shares: printable text, names and times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from protos import hermes_v1_pb2 as pb

_MAX_NAME, _MAX_REASON, _MIN_URL = 14, 12, 12
STATE_STYLES: dict[int, str] = {
    pb.CAMERA_STATE_LIVE: "green",
    pb.CAMERA_STATE_ENDED: "blue",
    pb.CAMERA_STATE_CONNECTING: "yellow",
    pb.CAMERA_STATE_RECOVERING: "yellow",
    pb.CAMERA_STATE_STALLED: "yellow",
    pb.CAMERA_STATE_BACKING_OFF: "yellow",
    pb.CAMERA_STATE_FAILED: "red",
}


def printable(text: str) -> str:
    """Text of a model or a camera without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def state_name(state: int) -> str:
    """live, ended, …"""
    return pb.CameraState.Name(state).removeprefix("CAMERA_STATE_").lower()


def reason_name(reason: int) -> str | None:
    """no_answer, unauthorized, …; None if there is none."""
    return pb.SourceReason.Name(reason).removeprefix("SOURCE_REASON_").lower() if reason else None


def probe_json(result: pb.TestCameraResponse) -> dict[str, Any]:
    """The result of a test of a URL, for programs; unknown numbers are null."""
    video = result.video
    has_interval = video.HasField("key_frame_interval_s")
    return {
        "url": result.url,
        "ok": not result.reason,
        "reason": reason_name(result.reason),
        "detail": result.detail,
        "video": {
            "codec": video.codec,
            "width": video.width,
            "height": video.height,
            "declared_fps": round(video.declared_fps, 2) or None,
            "measured_fps": round(video.measured_fps, 2) or None,
            "key_frame_interval_s": round(video.key_frame_interval_s, 2) if has_interval else None,
            "has_key_frames_enough": video.has_key_frames_enough,
            "first_frame_ms": round(video.first_frame_ms, 1) or None,
        }
        if result.HasField("video")
        else None,
    }


def probe_details(result: pb.TestCameraResponse) -> Table:
    """The result of a test of a URL, one fact in each row."""
    video, rows = result.video, {"url": result.url}
    rows["verdict"] = " · ".join(filter(None, (reason_name(result.reason) or "good", result.detail)))
    if result.HasField("video"):
        interval = "fewer than two seen"
        if video.HasField("key_frame_interval_s"):
            interval = f"every {video.key_frame_interval_s:.2f} s"
        density = (
            "often enough to decode them alone" if video.has_key_frames_enough else "too rare to decode them alone"
        )
        rows["video"] = f"{video.codec}, {video.width}x{video.height}"
        rows["rate"] = f"{video.declared_fps:.1f} fps declared, {video.measured_fps:.1f} measured"
        rows["key frames"] = f"{interval}, {density}"
        if video.first_frame_ms:
            rows["first frame"] = f"after {video.first_frame_ms:.0f} ms"
    return _facts(rows)


def camera_json(camera: pb.Camera) -> dict[str, Any]:
    """One camera for programs."""
    memory = camera.memory
    return {
        "id": camera.id,
        "name": camera.name,
        "url": camera.url,
        "state": state_name(camera.state),
        "reason": reason_name(camera.reason),
        "detail": camera.detail,
        "state_since": iso(since(camera)),
        "shard": camera.shard,
        "epoch": camera.epoch,
        "labels": dict(camera.labels),
        "pace": pb.Pace.Name(camera.pace).removeprefix("PACE_").lower(),
        "loop": camera.loop,
        "gate": camera.gate,
        "frames_per_second": camera.frames_per_second if camera.HasField("frames_per_second") else None,
        "masks": [[[corner.x, corner.y] for corner in mask.corners] for mask in camera.masks],
        "memory": {
            "frames_seen": memory.frames_seen,
            "frames_dropped": memory.frames_dropped,
            "compressions": memory.compressions,
            "prefix_tokens": memory.prefix_tokens,
            "summary_tier_tokens": memory.summary_tier_tokens,
            "recent_window_tokens": memory.recent_window_tokens,
            "bytes": memory.bytes,
            "thumbnails": memory.thumbnails,
            "thumbnail_bytes": memory.thumbnail_bytes,
            "next_position": memory.next_position,
            "oldest": iso(memory_time(memory, "oldest")),
            "newest": iso(memory_time(memory, "newest")),
            "checkpointed": iso(memory_time(memory, "checkpointed")),
            "gaps": [gap_json(gap) for gap in memory.gaps],
        },
    }


def as_json(value: object) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def camera_table(cameras: Sequence[pb.Camera], width: int = 80) -> Table:
    """One row for each camera, in this width: the URL gets what the other columns leave."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("camera", "state", "shard", "newest", "reason")
    for heading, max_width in zip(headings, (_MAX_NAME, None, None, None, _MAX_REASON), strict=True):
        table.add_column(heading, overflow="fold", no_wrap=max_width is None, max_width=max_width)
    table.add_column("url", no_wrap=True)
    rows = [_cells(camera) for camera in cameras]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    used = min(widths[0], _MAX_NAME) + sum(widths[1:-1]) + min(widths[-1], _MAX_REASON) + len(headings)
    for camera, (name, state, *facts) in zip(cameras, rows, strict=True):
        url = shortened(printable(camera.url), max(_MIN_URL, width - used))
        styled = Text(name, style="bold"), Text(state, style=STATE_STYLES.get(camera.state, ""))
        table.add_row(*styled, *facts, Text(url))
    return table


def _cells(camera: pb.Camera) -> tuple[str, ...]:
    newest = memory_time(camera.memory, "newest")
    reason = (reason_name(camera.reason) or "").replace("_", " ")  # folds between words
    return camera.name, state_name(camera.state), str(camera.shard), "none" if newest is None else dated(newest), reason


def shortened(text: str, length: int) -> str:
    """The text, without its middle if it is longer: the two ends tell cameras apart."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - tail :]}"


def camera_details(camera: pb.Camera) -> Table:
    """One camera, one fact in each row."""
    memory = camera.memory
    rows = {
        "camera": camera.name,
        "id": camera.id,
        "url": camera.url,
        "state": " · ".join(filter(None, (state_name(camera.state), reason_name(camera.reason), camera.detail))),
        "shard": f"{camera.shard}, epoch {camera.epoch}",
        "frames": _frames(camera),
        "tokens": f"{memory.prefix_tokens} prefix, {memory.summary_tier_tokens} summary tier, "
        f"{memory.recent_window_tokens} recent window (all layers)",
        "compressed": f"{memory.compressions} times",
        "memory": f"{memory.bytes:,} bytes on the device, next position {memory.next_position}",
        "thumbnails": f"{memory.thumbnails}, {memory.thumbnail_bytes:,} bytes",
        "options": _options(camera),
        "covers": f"{dated(_utc(memory.oldest))} to {dated(_utc(memory.newest))}"
        if memory.HasField("newest")
        else "nothing yet",
        "saved": dated(_utc(memory.checkpointed)) if memory.HasField("checkpointed") else "not yet",
    }
    if camera.labels:
        rows["labels"] = ", ".join(f"{key}={value}" for key, value in sorted(camera.labels.items()))
    table = _facts(rows)
    for gap in memory.gaps:
        table.add_row("gap", Text(f"{dated(_utc(gap.start))} to {dated(_utc(gap.end))}: {gap.reason}"))
    return table


def _options(camera: pb.Camera) -> str:
    """What `cameras update` and the configuration set."""
    rate = f"{camera.frames_per_second:g} frames a second" if camera.HasField("frames_per_second") else "default rate"
    pace = pb.Pace.Name(camera.pace).removeprefix("PACE_").lower()
    gate, masks = "gate on" if camera.gate else "gate off", f"{len(camera.masks)} masks"
    return ", ".join(filter(None, (f"{pace} pace", "loop" if camera.loop else "", rate, gate, masks)))


def since(camera: pb.Camera) -> datetime | None:
    """Since when the camera is in its state."""
    return _utc(camera.state_since) if camera.HasField("state_since") else None


def _frames(camera: pb.Camera) -> str:
    """How many frames are in the memory. A camera that was just added is live before its first clip has been read."""
    memory = camera.memory
    if not memory.frames_seen and not memory.frames_dropped:
        return "the first ones are being read" if camera.state == pb.CAMERA_STATE_LIVE else "none yet"
    return f"{memory.frames_seen} seen, {memory.frames_dropped} dropped"


def _facts(rows: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(printable(value)))
    return table


def gap_json(gap: pb.Gap) -> dict[str, Any]:
    """A gap for programs."""
    return {"start": iso(_utc(gap.start)), "end": iso(_utc(gap.end)), "reason": gap.reason}


def memory_time(memory: pb.MemoryStatus, name: str) -> datetime | None:
    return _utc(getattr(memory, name)) if memory.HasField(name) else None


def _utc(stamp: Timestamp) -> datetime:
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
