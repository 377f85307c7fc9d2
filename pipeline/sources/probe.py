"""Probes a camera's URL for some seconds: what video it gives, or why it gives none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.cameras import SourceError, SourceReason
from pipeline.decoding.segments import Packet, Segment
from pipeline.network import urls
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.network.url_redaction import redact
from pipeline.network.urls import SimUrl
from pipeline.sources import local_faults, opening, simulated
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.sampling import KEY_INTERVAL_TOLERANCE

WATCH_S = 5.0
_ENOUGH_KEYS = 3
_MAX_TRIES = 8  # to decode the first frame; each try decodes the whole group again


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """The video of a camera. Rates in frames per second, 0 if unknown; first_frame_ms: from opening to the first frame.

    has_key_frames_enough: whether key frames come so often that they alone are sampled.
    """

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
    """What was found at a URL. No text contains a secret.

    url: redacted.
    reason: why the URL cannot be used as a camera, None if it can.
    detail: the reason in words; without a reason a note, or empty.
    """

    url: str
    video: VideoInfo | None = None
    reason: SourceReason | None = None
    detail: str = ""


def max_duration_s(config: IngestConfig) -> float:
    """About how long probe_url blocks at most: connecting, opening, watching, waiting for the last packet."""
    return 3 * config.open_timeout_s + max(WATCH_S, config.open_timeout_s) + config.stall_after_s


def probe_url(url: str, config: IngestConfig, tls: TlsRules = USUAL_RULES) -> ProbeResult:
    """What the URL gives. Blocks for at most about max_duration_s. Raises InvalidCamera for an invalid URL."""
    parsed, label = urls.with_tls(urls.parse(url), tls), redact(url)
    if isinstance(parsed, SimUrl):
        return ProbeResult(url=label, video=_simulated(parsed, config.sample_fps), detail=simulated.describe(parsed))
    began_s = time.monotonic()
    try:
        with local_faults.as_unreachable():
            stream = opening.open_stream(parsed, config, is_stopped=lambda: False)
            try:
                return _probe(stream, label, config, began_s)
            finally:
                stream.close()
    except SourceError as error:
        return ProbeResult(url=label, reason=error.reason, detail=str(error))


def _simulated(url: SimUrl, fps: float) -> VideoInfo:
    return VideoInfo(
        codec="simulated",
        width=url.width,
        height=url.height,
        declared_fps=fps,
        measured_fps=fps,
        key_frame_interval_s=1 / fps,
        has_key_frames_enough=True,
    )


def _probe(stream: Demuxer, label: str, config: IngestConfig, began_s: float) -> ProbeResult:
    packets: list[Packet] = []
    failure: SourceError | None = None
    declared_fps = min(1 / stream.frame_duration_s, 1e3)
    video = VideoInfo(codec=stream.codec, width=stream.width, height=stream.height, declared_fps=declared_fps)
    try:
        for packet in _watch(stream, config.open_timeout_s):
            packets.append(packet)
            if not video.first_frame_ms and _is_decodable(stream, packets):
                video = replace(video, first_frame_ms=1e3 * (time.monotonic() - began_s))
    except SourceError as error:
        failure = error
    video = _with_rates(video, packets, 1 / config.sample_fps)
    if video.first_frame_ms:
        return ProbeResult(url=label, video=video, detail=stream.note or "")
    reason, detail = _why_no_frame(packets, failure, label)
    return ProbeResult(url=label, video=video, reason=reason, detail=detail)


def _watch(stream: Demuxer, first_key_timeout_s: float) -> Iterator[Packet]:
    """The packets of the first seconds: enough for several key frames and for measuring the frame rate."""
    began_s, num_keys = time.monotonic(), 0
    for packet in stream.packets():
        yield packet
        num_keys += packet.is_key
        watched_s = time.monotonic() - began_s
        if watched_s > (WATCH_S if num_keys else first_key_timeout_s) or (num_keys > _ENOUGH_KEYS and watched_s > 1):
            return


def _is_decodable(stream: Demuxer, packets: list[Packet]) -> bool:
    """Whether the packets from the first key frame on decode to at least one frame. False after _MAX_TRIES packets."""
    first = next((index for index, packet in enumerate(packets) if packet.is_key), None)
    if first is None or len(packets) - first > _MAX_TRIES or not packets[-1].is_visible:
        return False
    group = tuple(packets[first:])
    times_s = tuple(sorted(packet.pts_s for packet in group if packet.is_visible))
    return next(iter(stream.decoder.decode(Segment(group, times_s), range(len(times_s)))), None) is not None


def _with_rates(video: VideoInfo, packets: list[Packet], sampling_period_s: float) -> VideoInfo:
    """The video with the frame rate and the key frame interval that the packets' times show."""
    frame_interval_s = _mean_interval_s(sorted(packet.pts_s for packet in packets if packet.is_visible))
    key_interval_s = _mean_interval_s([packet.pts_s for packet in packets if packet.is_key])
    max_key_interval_s = KEY_INTERVAL_TOLERANCE * sampling_period_s
    return replace(
        video,
        measured_fps=1 / frame_interval_s if frame_interval_s else 0.0,
        key_frame_interval_s=key_interval_s,
        has_key_frames_enough=key_interval_s is not None and key_interval_s <= max_key_interval_s,
    )


def _mean_interval_s(times_s: list[float]) -> float | None:
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else None


def _why_no_frame(packets: list[Packet], failure: SourceError | None, label: str) -> tuple[SourceReason, str]:
    if not packets and failure is not None:
        return failure.reason, str(failure)
    if not packets:
        return SourceReason.NO_PICTURES, f"{label}: it ended without a frame"
    if not any(packet.is_key for packet in packets):
        return SourceReason.NO_KEY_FRAME, f"{label}: {len(packets)} frames arrived, none of them a key frame"
    return SourceReason.NO_DECODER, f"{label}: none of the {len(packets)} frames that arrived could be decoded"
