"""Plays files and network streams: packets in, sampled pictures out."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
import torch

from pipeline.cameras import PlaybackSpeed, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.decoding.dali import DaliDecoder
from pipeline.decoding.decoders import Decoder, DecoderBackend, FallbackDecoder, choose_backend
from pipeline.decoding.segments import GopSplitter, Packet, Segment
from pipeline.network.urls import FileUrl, NetworkUrl, redact
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.sampling import FrameRate, Sampler
from pipeline.sources.source import SampledFrame, SourceContext
from pipeline.sources.timestamps import FileTimeline, LiveTimeline, Timeline

log = structlog.get_logger(__name__)

BURST_S = 15.0  # a playlist's pieces come whole, each this long at most
KEYS_LATE = 1.05  # of the sampling period: key frames that come so often are all that is decoded
SLOW = 0.9  # of the sampling rate
MAX_LOST_KEYS = 3  # in a row, and groups are decoded whole again
MAX_DECODE_SHARE = 0.5  # of a live stream's time
AT_HAND_S, MAX_STORED = 0.01, 2_000  # a packet that comes later than that was waited for


class MediaSource:
    """Plays a file or a network stream: as it comes, at the pace of its own clock, or as fast as it is taken."""

    def __init__(
        self, stream: Demuxer, url: FileUrl | NetworkUrl, config: IngestConfig, context: SourceContext
    ) -> None:
        self._name = redact(url.url) if isinstance(url, NetworkUrl) else str(url.path)
        self.is_finite = stream.is_finite
        self._stream, self._config, self._context = stream, config, context
        self.is_live = not stream.is_finite or context.pace is PlaybackSpeed.LIVE
        self._cutter = GopSplitter(
            config.max_segment_s if self.is_live else config.max_gop_s,
            config.max_gop_s,
            config.max_gop_bytes,
            is_intra=stream.is_intra,
            max_key_gap_s=KEYS_LATE / config.sample_fps,
        )
        self._timeline: Timeline = FileTimeline(context.started_s) if stream.is_finite else LiveTimeline()
        in_bursts = not stream.is_finite and isinstance(url, NetworkUrl) and url.scheme.startswith("http")
        self._max_lag_s = max(config.max_lag_s, BURST_S) if in_bursts else config.max_lag_s
        self._sampler = Sampler(config.sample_fps)
        self._decoder: Decoder | None = None
        self._frame_rate = FrameRate()
        self._rate: float | None = None
        self._has_key = False
        self._opened_s = self._given_s = context.clock()
        self._newest_s = context.after_s
        self._tried = self._given = self._lost_keys = 0
        if stream.note is not None:
            context.on_note(stream.note)

    def samples(self) -> Iterator[SampledFrame]:
        """As pipeline.playback.Source asks."""
        segment = None
        for segment in self._segments():
            yield from self._decoded(segment)
            self._require_pictures()
        if segment is None or (self._tried and not self._given):
            error = SourceInvalid if self.is_finite else SourceUnreachable
            raise error(f"{self._name}: it ended without a picture that could be decoded", SourceReason.NO_PICTURES)

    def close(self) -> None:
        """Closes the stream."""
        if self._cutter.missing:
            log.info("pictures_left_out", camera=self._context.camera, pictures=self._cutter.missing)
        self._stream.close()

    def _segments(self) -> Iterator[Segment]:
        clock, is_paced = self._context.clock, self.is_finite and self.is_live
        for packet in self._packets():
            if self._context.wait(self._timeline.unix(packet.dts_s) - clock() if is_paced else 0):
                return
            segment = self._cutter.add(packet)
            self._look_at(packet)
            if segment is not None:
                self._has_key = True
                yield segment
        if (segment := self._cutter.flush()) is not None:
            yield segment

    def _require_pictures(self) -> None:
        silent_s = self._context.clock() - self._given_s
        limit_s = self._config.stall_after_s + 2 / self._config.sample_fps
        if not self.is_finite and silent_s > limit_s:
            text = f"{self._name}: no picture could be decoded for {silent_s:.1f} s (limit {limit_s:g} s)"
            raise SourceUnreachable(text, SourceReason.NO_PICTURES)

    def _look_at(self, packet: Packet) -> None:
        """Notices what cannot be watched as it was meant to, before anything is decoded."""
        if not self._has_key and not self.is_finite:
            self._require_key()
        if self._cutter.over_limit == 1:
            limits = f"{self._config.max_gop_s:g} s or {self._config.max_gop_bytes >> 20} MiB"
            self._context.on_note(f"its key frames are further apart than {limits}: what is beyond is left out")
        if self._rate is None and (rate := self._frame_rate.add(packet.pts_s)) is not None:
            self._rate = rate
            self._judge(rate)

    def _require_key(self) -> None:
        waited_s = self._context.clock() - self._opened_s
        if waited_s > self._config.max_key_wait_s:
            limit = f"(limit {self._config.max_key_wait_s:g} s)"
            text = f"{self._name}: no key frame for {waited_s:.1f} s {limit}"
            raise SourceUnreachable(text, SourceReason.NO_KEY_FRAME)

    def _judge(self, rate: float) -> None:
        if rate > self._config.max_fps:
            self._cutter.emit_keys_only()
            limit = f"(limit {self._config.max_fps:g})"
            self._context.on_note(f"it has {rate:.0f} frames/s {limit}: only its key frames are decoded")
        elif rate < SLOW * self._config.sample_fps:
            self._context.on_note(
                f"it has {rate:.2g} frames/s, fewer than the {self._config.sample_fps:g} to be sampled"
            )

    def _packets(self) -> Iterator[Packet]:
        """The stream's packets. What a live stream had in store when it was opened is seen whole before it is dated."""
        stored: list[Packet] = []
        is_storing, came_s = not self.is_finite, self._context.clock()
        for packet in self._stream.packets():
            now_s = self._context.clock()
            self._timeline.see(packet.pts_s, now_s)
            is_storing = is_storing and now_s - came_s < AT_HAND_S and len(stored) < MAX_STORED
            came_s = now_s
            if is_storing:
                stored.append(packet)
                continue
            if stored:
                yield from stored
                stored.clear()
            yield packet
        yield from stored

    def _decoded(self, segment: Segment) -> Iterator[SampledFrame]:
        times_s = [self._timeline.unix(pts_s) for pts_s in segment.times_s]
        wanted = self._wanted(times_s)
        if not wanted:
            return
        began_s, lost = self._context.clock(), len(wanted)
        self._tried += len(wanted)
        for decoded in self._decoder_for(segment).decode(segment, wanted):
            time_s = times_s[decoded.index]
            if time_s > self._newest_s:
                self._newest_s = time_s
                lost -= 1
                self._given += 1
                self._given_s = self._context.clock()
                yield SampledFrame(time_s, decoded.image, is_last=decoded.index >= wanted[-1])
        self._context.on_dropped(lost)
        self._learn_of_keys(segment, lost)
        if self.is_live:
            # Each cut of a long group decodes it from its key frame again: the slower that is, the rarer the cuts.
            spent_s = self._context.clock() - began_s
            self._cutter.segment_s = max(self._config.max_segment_s, spent_s / MAX_DECODE_SHARE)

    def _learn_of_keys(self, segment: Segment, lost: int) -> None:
        """Key frames that only look as if they decoded alone (gradual refresh) are found out by trying."""
        if len(segment.packets) > 1 or self._stream.is_intra or not self._cutter.max_key_gap_s:
            return
        self._lost_keys = self._lost_keys + 1 if lost else 0
        if self._lost_keys == MAX_LOST_KEYS:
            self._cutter.max_key_gap_s = 0.0
            log.warning("key_frames_do_not_stand_alone", camera=self._context.camera)

    def _wanted(self, times_s: list[float]) -> list[int]:
        """Which frames are due, and neither known nor too old: those are dropped, if they came since the opening."""
        due = [index for index in self._sampler.pick(times_s) if times_s[index] > self._newest_s]
        if not self.is_live:
            return due
        oldest_s = self._context.clock() - self._max_lag_s
        fresh = [index for index in due if times_s[index] > oldest_s]
        self._context.on_dropped(sum(self._opened_s <= times_s[index] <= oldest_s for index in due))
        return fresh

    def _decoder_for(self, segment: Segment) -> Decoder:
        if self._decoder is None:
            stream = self._stream
            size = (stream.width, stream.height)
            engine = choose_backend(stream.codec, stream.pixel_format, size, _gpu(self._config.device))
            # DALI doesn't turn pictures upright.
            is_for_libav = engine is DecoderBackend.LIBAV or self._stream.decoder.rotation_deg(segment) != 0
            self._decoder = self._stream.decoder if is_for_libav else self._dali(engine)
            log.info("decoder_chosen", camera=self._context.camera, codec=self._stream.codec, engine=str(engine))
        return self._decoder

    def _dali(self, engine: DecoderBackend) -> Decoder:
        dali = DaliDecoder(
            self._stream.remux,
            "mixed" if engine is DecoderBackend.DALI_GPU else "cpu",
            image_nbytes=3 * self._stream.width * self._stream.height,
            matrix=self._stream.matrix,
        )
        return FallbackDecoder(dali, self._stream.decoder, camera=self._context.camera)


def _gpu(device: str) -> tuple[int, int] | None:
    """The compute capability of the GPU that decodes, None without one."""
    has_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.cuda.get_device_capability() if has_gpu else None
