"""Looks at a camera's URL for some seconds without watching it: what it gives, or why it gives nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.cameras import SourceError, SourceReason
from pipeline.decoding.segments import Packet, Segment
from pipeline.network import urls
from pipeline.network.urls import SimUrl
from pipeline.sources import opening
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig

LOOK_S = 5.0
_ENOUGH_KEYS = 3
_TRIES = 8  # each decodes all of them again
_TOLERANCE = 1.05  # of an interval, before it counts as longer than another


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a camera gives. Rates in pictures a second, 0 where unknown; first_frame_ms: from opening to a picture."""

    codec: str
    width: int
    height: int
    declared_fps: float = 0.0
    measured_fps: float = 0.0
    key_frame_interval_s: float | None = None
    has_key_frames_enough: bool = False
    first_frame_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What was found at a URL; without a reason all is well, and `detail` is a remark. Neither text holds a secret."""

    url: str
    video: VideoInfo | None = None
    reason: SourceReason | None = None
    detail: str = ""


def max_duration_s(config: IngestConfig) -> float:
    """How long an inspection takes at most, about: connecting, opening, looking, waiting for a last picture."""
    return 3 * config.open_timeout_s + max(LOOK_S, config.open_timeout_s) + config.stall_after_s


def probe_url(url: str, config: IngestConfig) -> ProbeResult:
    """Blocks for at most about longest_s. Raises InvalidCamera for what is no URL of a camera."""
    parsed, shown = urls.parse(url), urls.redact(url)
    if isinstance(parsed, SimUrl):
        fps = config.sample_fps
        drawn = VideoInfo(
            codec="simulated", width=parsed.width, height=parsed.height, declared_fps=fps, measured_fps=fps
        )
        return ProbeResult(url=shown, video=replace(drawn, key_frame_interval_s=1 / fps, has_key_frames_enough=True))
    began_s = time.monotonic()
    try:
        stream = opening.open_stream(parsed, config, is_stopped=lambda: False)
    except SourceError as error:
        return ProbeResult(url=shown, reason=error.reason, detail=str(error))
    try:
        return _looked_at(stream, shown, config, began_s)
    finally:
        stream.close()


def _looked_at(stream: Demuxer, shown: str, config: IngestConfig, began_s: float) -> ProbeResult:
    seen: list[Packet] = []
    failure: SourceError | None = None
    video = VideoInfo(
        codec=stream.codec, width=stream.width, height=stream.height, declared_fps=min(1 / stream.frame_duration_s, 1e3)
    )
    try:
        for packet in _packets(stream, config.open_timeout_s):
            seen.append(packet)
            if not video.first_frame_ms and _shows_a_picture(stream, seen):
                video = replace(video, first_frame_ms=1e3 * (time.monotonic() - began_s))
    except SourceError as error:
        failure = error
    video = _measured(video, seen, 1 / config.sample_fps)
    if video.first_frame_ms:
        return ProbeResult(url=shown, video=video, detail=stream.note or "")
    reason, detail = _why_no_picture(seen, failure, shown)
    return ProbeResult(url=shown, video=video, reason=reason, detail=detail)


def _packets(stream: Demuxer, first_key_timeout_s: float) -> Iterator[Packet]:
    """What comes while it is looked at: long enough for a few key frames, and for a rate to show."""
    began_s, keys = time.monotonic(), 0
    for packet in stream.packets():
        yield packet
        keys += packet.is_key
        looked_s = time.monotonic() - began_s
        if looked_s > (LOOK_S if keys else first_key_timeout_s) or (keys > _ENOUGH_KEYS and looked_s > 1):
            return


def _shows_a_picture(stream: Demuxer, seen: list[Packet]) -> bool:
    """Whether the newest packet, with what it leans on, decodes to a picture."""
    first = next((place for place, packet in enumerate(seen) if packet.is_key), None)
    if first is None or len(seen) - first > _TRIES or not seen[-1].is_visible:
        return False
    group = tuple(seen[first:])
    times_s = tuple(sorted(packet.pts_s for packet in group if packet.is_visible))
    return next(iter(stream.decoder.decode(Segment(group, times_s), range(len(times_s)))), None) is not None


def _measured(video: VideoInfo, seen: list[Packet], sample_every_s: float) -> VideoInfo:
    """With the rates that the times of its packets show."""
    pictures_s = sorted(packet.pts_s for packet in seen if packet.is_visible)
    every_s = _mean_step_s(pictures_s)
    keys_every_s = _mean_step_s([packet.pts_s for packet in seen if packet.is_key])
    return replace(
        video,
        measured_fps=1 / every_s if every_s else 0.0,
        key_frame_interval_s=keys_every_s,
        has_key_frames_enough=keys_every_s is not None and keys_every_s <= _TOLERANCE * sample_every_s,
    )


def _mean_step_s(times_s: list[float]) -> float | None:
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else None


def _why_no_picture(seen: list[Packet], failure: SourceError | None, shown: str) -> tuple[SourceReason, str]:
    if not seen and failure is not None:
        return failure.reason, str(failure)
    if not seen:
        return SourceReason.NO_PICTURES, f"{shown}: it ended without a picture"
    if not any(packet.is_key for packet in seen):
        return SourceReason.NO_KEY_FRAME, f"{shown}: {len(seen)} pictures came, and no key frame among them"
    return SourceReason.NO_DECODER, f"{shown}: none of the {len(seen)} pictures that came could be decoded"
