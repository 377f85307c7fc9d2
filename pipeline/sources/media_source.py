"""Plays files and network streams: packets in, sampled frames out."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import structlog

from pipeline.cameras import PlaybackSpeed, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.decoding.decoders import Decoder, FallbackDecoder
from pipeline.decoding.segments import GopSplitter, Packet, Segment
from pipeline.network.url_redaction import redact
from pipeline.network.urls import FileUrl, NetworkUrl
from pipeline.sources import timestamps
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.sampling import KEY_INTERVAL_TOLERANCE, FrameRate, Sampler
from pipeline.sources.source import SampledFrame, SourceContext
from pipeline.sources.timestamps import FileTimeline, LiveTimeline, Timeline

log = structlog.get_logger(__name__)

MAX_SEGMENT_BURST_S = 15.0  # a playlist's segments arrive whole, each at most this long
SLOW_SHARE = 0.9  # of the sampling rate: a camera below it is reported
MAX_LOST_KEYS = 3  # in a row, after which whole groups are decoded again
MAX_DECODE_SHARE = 0.5  # of a live stream's time
MAX_BACKLOG_STEP_S, MAX_BACKLOG = 0.01, 2_000  # a packet that arrives later than this was waited for


class MediaSource:
    """Plays a network stream as it arrives, a file at the pace of its own clock or as fast as it is taken."""

    def __init__(
        self,
        stream: Demuxer,
        url: FileUrl | NetworkUrl,
        config: IngestConfig,
        context: SourceContext,
        *,
        start_s: float | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """start_s: when a recording begins (default: as its pace says). sampler: goes on with the grid of a stream."""
        self._name = redact(url.url) if isinstance(url, NetworkUrl) else str(url.path)
        self.is_finite = stream.is_finite
        self._stream, self._config, self._context = stream, config, context
        stream.decoder.watch(context.clock)
        self.is_live = not stream.is_finite or context.pace is PlaybackSpeed.LIVE
        self.can_wait = not self.is_live or (stream.is_playlist and not stream.is_finite)
        self._splitter = GopSplitter(
            config.max_segment_s if self.is_live else config.max_gop_s,
            config.max_gop_s,
            config.max_gop_bytes,
            is_intra=stream.is_intra,
            max_key_gap_s=KEY_INTERVAL_TOLERANCE / config.sample_fps,
        )
        if start_s is None:
            is_fast = context.pace is PlaybackSpeed.FAST
            start_s = timestamps.recording_start_s(context.started_s, stream.duration_s, is_fast=is_fast)
        self._timeline: Timeline = FileTimeline(start_s) if stream.is_finite else LiveTimeline()
        self._last_packet_s = start_s
        is_bursty = not stream.is_finite and isinstance(url, NetworkUrl) and url.scheme.startswith("http")
        self._max_lag_s = max(config.max_lag_s, MAX_SEGMENT_BURST_S) if is_bursty else config.max_lag_s
        self.sampler = sampler or Sampler(config.sample_fps)
        self._decoder: Decoder | None = None
        self._frame_rate = FrameRate()
        self._rate: float | None = None
        self._has_key = False
        self._opened_s = self._last_frame_s = context.clock()
        self._newest_s = context.after_s
        self._num_tried = self._num_decoded = self._lost_keys = 0
        self._note: str | None = None  # of the stream

    def samples(self) -> Iterator[SampledFrame]:
        """See Source.samples."""
        segment = None
        for segment in self._segments():
            self._report_note()
            yield from self._decode(segment)
            self._require_frames()
        if segment is None or (self._num_tried and not self._num_decoded):
            error = SourceInvalid if self.is_finite else SourceUnreachable
            raise error(f"{self._name}: it ended without a frame that could be decoded", SourceReason.NO_PICTURES)

    @property
    def end_s(self) -> float:
        """When a recording that was played to its end was over: later than its begin."""
        return self._last_packet_s + self._stream.frame_duration_s

    def close(self) -> None:
        """Closes the stream."""
        if self._splitter.missing:
            log.info("frames_left_out", camera=self._context.camera, frames=self._splitter.missing)
        self._stream.close()

    def _report_note(self) -> None:
        if (note := self._stream.note) is not None and note != self._note:
            self._note = note
            self._context.on_note(note)

    def _segments(self) -> Iterator[Segment]:
        clock = self._context.clock
        for packet in self._packets():
            if self._context.wait(self._timeline.unix(packet.dts_s) - clock() if self.is_finite else 0):
                return
            self._last_packet_s = max(self._last_packet_s, self._timeline.unix(packet.pts_s))
            segment = self._splitter.add(packet)
            self._check(packet)
            if segment is not None:
                self._has_key = True
                yield segment
        if (segment := self._splitter.flush()) is not None:
            yield segment

    def _require_frames(self) -> None:
        silent_s = self._context.clock() - self._last_frame_s
        limit_s = self._stream.stall_after_s + 2 / self._config.sample_fps
        if not self.is_finite and silent_s > limit_s:
            text = f"{self._name}: no frame could be decoded for {silent_s:.1f} s (limit {limit_s:g} s)"
            raise SourceUnreachable(text, SourceReason.NO_PICTURES)

    def _check(self, packet: Packet) -> None:
        """Checks key frames, group length and frame rate before anything is decoded. Raises SourceUnreachable."""
        if not self._has_key and not self.is_finite:
            self._require_key()
        if self._splitter.over_limit == 1:
            limits = f"{self._config.max_gop_s:g} s or {self._config.max_gop_bytes >> 20} MiB"
            self._context.on_note(f"its key frames are further apart than {limits}: frames beyond that are left out")
        if self._rate is None and (rate := self._frame_rate.add(packet.pts_s)) is not None:
            self._rate = rate
            self._check_rate(rate)

    def _require_key(self) -> None:
        waited_s = self._context.clock() - self._opened_s
        if waited_s > self._config.max_key_wait_s:
            limit = f"(limit {self._config.max_key_wait_s:g} s)"
            text = f"{self._name}: no key frame for {waited_s:.1f} s {limit}"
            raise SourceUnreachable(text, SourceReason.NO_KEY_FRAME)

    def _check_rate(self, rate: float) -> None:
        if rate > self._config.max_fps:
            self._splitter.emit_keys_only()
            limit = f"(limit {self._config.max_fps:g})"
            self._context.on_note(f"it has {rate:.0f} frames/s {limit}: only its key frames are decoded")
        elif rate < SLOW_SHARE * self._config.sample_fps:
            self._context.on_note(
                f"it has {rate:.2g} frames/s, fewer than the {self._config.sample_fps:g} to be sampled"
            )

    def _packets(self) -> Iterator[Packet]:
        """The stream's packets. The backlog of a live stream is read whole before its first packet is dated."""
        backlog: list[Packet] = []
        is_backlog, arrived_s = not self.is_finite, self._context.clock()
        for packet in self._stream.packets():
            now_s = self._context.clock()
            self._timeline.add(packet.pts_s, now_s)
            is_backlog = is_backlog and now_s - arrived_s < MAX_BACKLOG_STEP_S and len(backlog) < MAX_BACKLOG
            arrived_s = now_s
            if is_backlog:
                backlog.append(packet)
                continue
            if backlog:
                yield from backlog
                backlog.clear()
            yield packet
        yield from backlog

    def _decode(self, segment: Segment) -> Iterator[SampledFrame]:
        times_s = [self._timeline.unix(pts_s) for pts_s in segment.times_s]
        indices = self._due(times_s)
        if not indices:
            return
        began_s, lost, next_due = self._context.clock(), 0, 0
        self._num_tried += len(indices)
        for decoded in self._decoder_for(segment).decode(segment, indices):
            time_s = times_s[decoded.index]
            if time_s > self._newest_s:
                self._newest_s = time_s
                due = bisect.bisect_right(indices, decoded.index) - 1  # it may stand for one before it
                self._context.on_dropped(due - next_due)
                lost, next_due = lost + due - next_due, due + 1
                self._num_decoded += 1
                yield SampledFrame(time_s, decoded.image, is_last=decoded.index >= indices[-1])
                self._last_frame_s = self._context.clock()  # it may have waited to be taken
        self._context.on_dropped(len(indices) - next_due)
        self._check_keys(segment, lost + len(indices) - next_due)
        if self.is_live:
            # Each cut of a long group decodes it from its key frame again. Slow decoding makes the cuts rarer.
            spent_s = self._context.clock() - began_s
            self._splitter.segment_s = max(self._config.max_segment_s, spent_s / MAX_DECODE_SHARE)

    def _check_keys(self, segment: Segment, lost: int) -> None:
        """Detects key frames that do not decode alone (gradual refresh): they give no frame when tried."""
        if len(segment.packets) > 1 or self._stream.is_intra or not self._splitter.max_key_gap_s:
            return
        self._lost_keys = self._lost_keys + 1 if lost else 0
        if self._lost_keys == MAX_LOST_KEYS:
            self._splitter.max_key_gap_s = 0.0
            log.warning("key_frames_not_decodable_alone", camera=self._context.camera)

    def _due(self, times_s: list[float]) -> list[int]:
        """Indices of the frames to decode: due, new and not too old. Those too old count as dropped if live."""
        now_s = self._context.clock()
        stride = self._context.rate.at(now_s) if self.is_live else 1
        due = [index for index in self.sampler.pick(times_s, stride) if times_s[index] > self._newest_s]
        if not self.is_live:
            return due
        oldest_s = now_s - self._max_lag_s
        fresh = [index for index in due if times_s[index] > oldest_s]
        late = sum(self._opened_s <= times_s[index] <= oldest_s for index in due)
        self._context.on_dropped(late)
        if late:
            self._context.rate.lost(now_s)
        return fresh

    def _decoder_for(self, segment: Segment) -> Decoder:
        if self._decoder is None:
            libav, camera = self._stream.decoder, self._context.camera
            other = self._context.choose_decoder(self._stream, self._config.device)
            # DALI ignores the rotation of a video.
            is_for_libav = other is None or libav.rotation_deg(segment) != 0
            self._decoder = libav if other is None or is_for_libav else FallbackDecoder(other, libav, camera=camera)
            log.debug("decoder_chosen", camera=camera, codec=self._stream.codec, is_libav=is_for_libav)
        return self._decoder
