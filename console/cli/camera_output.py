"""Cameras, and tests of their URLs, as lines, tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from console.cli.output import (
    STATE_STYLES,
    dated,
    facts,
    gap_json,
    iso,
    memory_time,
    note_name,
    printable,
    reason_name,
    shortened,
    state_name,
    utc,
)
from protos import hermes_v1_pb2 as pb

# By whether key frames come as often as frames are sampled.
_DECODED = {
    True: "often enough that only they are decoded",
    False: "it works, but every frame is decoded: a shorter key frame interval (GOP) in the camera saves CPU time",
}
_MAX_NAME, _MAX_REASON, _MIN_URL = 14, 12, 12


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
        rows["video"] = f"{video.codec}, {video.width}x{video.height}"
        rows["rate"] = f"{video.declared_fps:.1f} fps declared, {video.measured_fps:.1f} measured"
        rows["key frames"] = f"{interval}; {_DECODED[video.has_key_frames_enough]}"
        if video.first_frame_ms:
            rows["first frame"] = f"after {video.first_frame_ms:.0f} ms"
    return facts(rows)


def camera_json(camera: pb.Camera) -> dict[str, Any]:
    """One camera for programs."""
    memory = camera.memory
    return {
        "id": camera.id,
        "name": camera.name,
        "url": camera.url,
        "state": state_name(camera.state),
        "reason": reason_name(camera.reason),
        "picture_note": note_name(camera.picture_note),
        "detail": camera.detail,
        "state_since": iso(since(camera)),
        "shard": camera.shard,
        "epoch": camera.epoch,
        "labels": dict(camera.labels),
        "pace": pb.Pace.Name(camera.pace).removeprefix("PACE_").lower(),
        "loop": camera.loop,
        "gate": camera.gate,
        "frames_per_second": camera.frames_per_second if camera.HasField("frames_per_second") else None,
        "lowered_frames_per_second": lowered_rate(camera),
        "tls_certificate_sha256": camera.tls_certificate_sha256,
        "tls_ca": camera.tls_ca,
        "tls_name": camera.tls_name,
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
    for camera, (name, state, *rest) in zip(cameras, rows, strict=True):
        url = shortened(printable(camera.url), max(_MIN_URL, width - used))
        styled = (
            Text(name, style="bold"),
            Text(state, style="yellow" if camera.picture_note else STATE_STYLES.get(camera.state, "")),
        )
        table.add_row(*styled, *rest, Text(url))
    return table


def _cells(camera: pb.Camera) -> tuple[str, ...]:
    newest = memory_time(camera.memory, "newest")
    reason = " ".join(_reasons(camera)).replace("_", " ")  # folds between words
    state, rate = state_name(camera.state), lowered_rate(camera)
    state = state if rate is None else f"{state} {rate:.2g}/s"
    return camera.name, state, str(camera.shard), "none" if newest is None else dated(newest), reason


def _reasons(camera: pb.Camera) -> list[str]:
    """Why it gives no video, or what is wrong with its picture."""
    return list(filter(None, (reason_name(camera.reason), note_name(camera.picture_note))))


def camera_details(camera: pb.Camera) -> Table:
    """One camera, one fact in each row."""
    memory = camera.memory
    rows = {
        "camera": camera.name,
        "id": camera.id,
        "url": camera.url,
        "state": " · ".join(filter(None, (state_name(camera.state), *_reasons(camera), camera.detail))),
        "shard": f"{camera.shard}, epoch {camera.epoch}",
        "frames": _frames(camera),
        "tokens": f"{memory.prefix_tokens} prefix, {memory.summary_tier_tokens} summary tier, "
        f"{memory.recent_window_tokens} recent window (all layers)",
        "compacted": f"{memory.compressions} times",
        "memory": f"{memory.bytes:,} bytes on the device, next position {memory.next_position}",
        "thumbnails": f"{memory.thumbnails}, {memory.thumbnail_bytes:,} bytes",
        "options": _options(camera),
        "covers": f"{dated(utc(memory.oldest))} to {dated(utc(memory.newest))}"
        if memory.HasField("newest")
        else "nothing yet",
        "saved": dated(utc(memory.checkpointed)) if memory.HasField("checkpointed") else "not yet",
    }
    if camera.labels:
        rows["labels"] = ", ".join(f"{key}={value}" for key, value in sorted(camera.labels.items()))
    table = facts(rows)
    for gap in memory.gaps:
        table.add_row("gap", Text(f"{dated(utc(gap.start))} to {dated(utc(gap.end))}: {gap.reason}"))
    return table


def _options(camera: pb.Camera) -> str:
    """What `cameras update` and the configuration set."""
    rate = f"{camera.frames_per_second:g} frames a second" if camera.HasField("frames_per_second") else "default rate"
    pace = pb.Pace.Name(camera.pace).removeprefix("PACE_").lower()
    gate, masks = "gate on" if camera.gate else "gate off", f"{len(camera.masks)} masks"
    return ", ".join(filter(None, (f"{pace} pace", "loop" if camera.loop else "", rate, gate, masks)))


def since(camera: pb.Camera) -> datetime | None:
    """Since when the camera is in its state."""
    return utc(camera.state_since) if camera.HasField("state_since") else None


def lowered_rate(camera: pb.Camera) -> float | None:
    """Frames per second that are sampled from it where these are fewer than its rate, else None."""
    return camera.lowered_frames_per_second if camera.HasField("lowered_frames_per_second") else None


def _frames(camera: pb.Camera) -> str:
    """How many frames are in the memory. A camera that was just added is live before its first clip has been read."""
    memory = camera.memory
    if not memory.frames_seen and not memory.frames_dropped:
        return "the first ones are being read" if camera.state == pb.CAMERA_STATE_LIVE else "none yet"
    return f"{memory.frames_seen} seen, {memory.frames_dropped} dropped"
