"""Reads streams with libav: opens URLs, demuxes packets, remuxes segments into files.

Every libav error becomes a SourceError whose text contains no secret of the URL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
from av.error import FFmpegError

from pipeline.boot_clock import boot_time_s
from pipeline.cameras import SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.decoding import bitstream_headers
from pipeline.decoding.bitstream_headers import CODECS
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import DecodeError, StreamFormat
from pipeline.decoding.libav import KeyFrameReader, LibavDecoder, av_packet
from pipeline.decoding.segments import Packet, Segment
from pipeline.network.url_redaction import redact, scrub
from pipeline.network.urls import FileUrl, NetworkUrl
from pipeline.sources import inputs, libav_errors, remuxing
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.libav_inputs import LibavArguments, LibavInput
from pipeline.sources.picture_timeout import PictureTimeout
from pipeline.sources.timestamps import PacketClock

_UNTIMED_FORMATS = frozenset({"mpjpeg"})  # pushed frame by frame; libav invents their times
# Without its index, e.g. over HTTP without byte ranges, libav calls each frame of an AVI a key frame. It finds the key
# frames of these codecs in their frames.
_KEYS_IN_FRAMES = frozenset({"h264", "hevc", "av1", "vp8", "vp9", "vc1", "h263", "mpeg1video", "mpeg2video", "mpeg4"})
_MATRICES = {1: ColourMatrix.BT709, 9: ColourMatrix.BT2020, 10: ColourMatrix.BT2020}
_MAX_FPS, _DEFAULT_FPS = 240, 25
_MAX_DURATION_S = 30 * 86_400.0  # a header that says more is wrong


class Demuxer:
    """The video stream of one opened file or network stream. Belongs to the thread that opened it."""

    def __init__(
        self,
        url: FileUrl | NetworkUrl,
        config: IngestConfig,
        is_stopped: Callable[[], bool] = lambda: False,
        *,
        min_width: int = 0,
    ) -> None:
        """Opens the stream. Blocks for at most about open_timeout_s, or until `is_stopped`. Raises SourceError."""
        self._address = f"file:{url.path}" if isinstance(url, FileUrl) else url.url
        self._is_file = isinstance(url, FileUrl)
        self.stall_after_s, self._max_wait_s = config.stall_after_s, config.max_key_wait_s
        arguments = self._connect(lambda: inputs.input_for(url, config, is_stopped, min_width=min_width), config)
        self.stall_after_s += arguments.silence_s
        try:
            self._video = self._find_video(config)
        except SourceError:
            self.close()
            raise
        context = self._video.codec_context
        self.codec: str = context.codec.canonical_name
        self.is_intra: bool = context.codec.intra_only
        self.matrix = _MATRICES.get(context.colorspace, ColourMatrix.BT601)
        self.width: int = context.width
        self.height: int = context.height
        self.pixel_format: str = context.pix_fmt
        self.decoder = LibavDecoder(context)
        self.is_playlist: bool = self._container.format.name == "hls"  # a server keeps its segments until they are read
        has_unsure_keys = self._container.format.name == "avi" and not self.is_intra
        self._keys = KeyFrameReader(context) if has_unsure_keys and self.codec not in _KEYS_IN_FRAMES else None
        self._tick: Fraction = self._video.time_base
        rate = self._video.average_rate or self._video.guessed_rate or _DEFAULT_FPS
        self.frame_duration_s = 1 / min(float(rate), _MAX_FPS) if rate > 0 else 1 / _DEFAULT_FPS
        is_recording = not isinstance(arguments.file, str) and arguments.can_end and bool(self._container.duration)
        self.is_finite = self._is_file or is_recording
        self.duration_s = self._duration_s() if self.is_finite else None

    @property
    def format(self) -> StreamFormat:
        """What a decoder must know of it."""
        return StreamFormat(self.codec, self.pixel_format, self.width, self.height, self.matrix)

    @property
    def note(self) -> str | None:
        """A fact about the stream that the operator should know, None without one. It may come later."""
        return self._input.note

    def close(self) -> None:
        """Closes the file or connection."""
        self._container.close()
        self._input.close()

    def packets(self) -> Iterator[Packet]:
        """The video's packets in decode order until its end. Blocks. Raises SourceError if it breaks off or stalls."""
        packet_clock = PacketClock(self.frame_duration_s)
        timeout = PictureTimeout(self.stall_after_s, self.stall_after_s if self.is_finite else self._max_wait_s)
        is_timed, video = self._container.format.name not in _UNTIMED_FORMATS, self._video.index
        with self._errors(timeout.limit_s):
            # All streams are read: audio that continues must not hide that the video has stopped.
            for packet in self._container.demux():
                if packet.stream_index == video and packet.size:
                    picture = self._packet(packet, packet_clock, None if is_timed else boot_time_s())
                    timeout.add(picture.dts_s)
                    yield picture
                    # Behind a failure libav still gives what it had read. New connections must not hide the failure.
                    if self._input.failure is None:
                        self._restart_wait(timeout.limit_s)
                # An empty one ends each stream: what ended it is known below.
                elif packet.size and self._has_waited() and not self._is_file:
                    what = "audio but no video" if packet.stream.type == "audio" else "no picture"
                    text = f"{what} within {self._limit_s:g} s"
                    raise SourceUnreachable(self._message(text), SourceReason.NO_PICTURES)
            if self._input.failure is not None:
                raise self._input.failure
            if self._has_waited() and not self.is_finite:
                raise SourceUnreachable(self._message(f"no answer within {self._limit_s:g} s"), SourceReason.NO_ANSWER)

    def remux(self, segment: Segment) -> bytes:
        """The segment as a video file in memory, its frames evenly spaced in time.

        Raises DecodeError if no container takes the codec, or if a frame's size differs from the header's.
        """
        if not self._has_one_format(segment):
            raise DecodeError(f"frames of another format than {self.width}x{self.height}")
        return remuxing.write(segment, self.codec, self._video)

    def _has_one_format(self, segment: Segment) -> bool:
        if self.codec in CODECS:
            packets = (bytes(av_packet(packet)) for packet in segment.packets)
            return bitstream_headers.all_match(self.codec, packets, self.width, self.height)
        frame = self.decoder.first_frame(segment)
        return frame is not None and (frame.width, frame.height, frame.format.name) == (
            self.width,
            self.height,
            self.pixel_format,
        )

    def _connect(self, new_input: Callable[[], LibavInput], config: IngestConfig) -> LibavArguments:
        """Opens the input and what libav makes of it. Raises SourceError.

        libav wants to see several pictures. Where they come too slowly for that, the first one must do.
        """
        is_slow = False
        while True:
            self._input = new_input()
            try:
                arguments = self._input.open()
                self._container = self._open(arguments, config, is_slow=is_slow)
            except SourceError as error:
                has_few = self._input.has_pictures and error.reason is SourceReason.NO_ANSWER
                self._input.close()
                if is_slow or not has_few:
                    raise
                is_slow = True
            else:
                return arguments

    def _open(self, arguments: LibavArguments, config: IngestConfig, *, is_slow: bool) -> av.container.InputContainer:
        limit_s = max(config.open_timeout_s, config.max_key_wait_s) if is_slow else config.open_timeout_s
        with self._errors(limit_s):
            # libav opens in two steps, each with this timeout.
            self._input.restart(2 * limit_s)
            return av.open(
                arguments.file,
                format=arguments.format,
                options=dict(arguments.options) | ({"probesize": "32"} if is_slow else {}),
                # The input ends what takes too long; only files have none of ours.
                timeout=(limit_s, None if self._is_file else 2 * max(self.stall_after_s, self._max_wait_s)),
                metadata_errors="replace",
                io_open=arguments.open_nested,
            )

    def _find_video(self, config: IngestConfig) -> av.VideoStream:
        cover_art = int(av.stream.Disposition.attached_pic)
        videos = [video for video in self._container.streams.video if not int(video.disposition) & cover_art]
        if not videos and self._input.failure is not None:
            raise self._input.failure
        if not videos:
            reason = SourceReason.AUDIO_ONLY if self._container.streams.audio else SourceReason.NOT_VIDEO
            raise SourceInvalid(self._message("it has no video"), reason)
        video, context = videos[0], videos[0].codec_context
        if context is None:
            raise SourceInvalid(self._message("no decoder for its codec"), SourceReason.NO_DECODER)
        if self._is_file and not context.width:
            text = "frame size missing or too large"
            raise SourceInvalid(self._message(text), SourceReason.NOT_VIDEO)
        if context.width > config.max_width or context.height > config.max_height:
            limit = f"{config.max_width}x{config.max_height}"
            text = f"frame size {context.width}x{context.height} exceeds {limit} (ingest.max_width, ingest.max_height)"
            raise SourceInvalid(self._message(text), SourceReason.TOO_LARGE)
        context.options = {"max_pixels": str(config.max_width * config.max_height)}
        context.thread_count = 1  # many cameras share the cores; more threads would also delay frames
        return video

    def _duration_s(self) -> float | None:
        """How long the header says that a recording is, None if it says nothing that can be true."""
        total = self._container.duration
        duration_s = self._seconds(self._video.duration) or (total / av.time_base if total else 0.0)
        return duration_s if 0 < duration_s <= _MAX_DURATION_S else None

    def _packet(self, packet: av.Packet, clock: PacketClock, arrived_s: float | None) -> Packet:
        pts_s, dts_s = self._seconds(packet.pts), self._seconds(packet.dts)
        # A bit of a VP8 frame says whether it is shown or only a reference.
        is_visible = self.codec != "vp8" or bool(memoryview(packet)[0] & 0x10)
        is_key = packet.is_keyframe and (self._keys is None or self._keys.is_key(packet))
        if arrived_s is not None:
            pts_s = dts_s = arrived_s
        stamp = clock.stamp(pts_s, dts_s, is_key=is_key)
        return Packet(stamp.pts_s, stamp.dts_s, is_key, packet.size, packet, is_visible)

    def _seconds(self, ticks: int | None) -> float | None:
        return None if ticks is None else ticks * self._tick.numerator / self._tick.denominator

    @contextmanager
    def _errors(self, limit_s: float) -> Iterator[None]:
        self._restart_wait(limit_s)
        try:
            yield
        except FFmpegError as error:
            if self._input.failure is not None:
                raise self._input.failure from None
            text, reason = libav_errors.explain(error)
            if self._has_waited():
                text, reason = f"no answer within {self._limit_s:g} s", SourceReason.NO_ANSWER
            raise (SourceInvalid if self._is_file else SourceUnreachable)(self._message(text), reason) from None
        except UnicodeDecodeError:  # from a URL in a playlist
            raise SourceInvalid(self._message("its playlist contains an invalid URL"), SourceReason.NOT_VIDEO) from None

    def _restart_wait(self, limit_s: float) -> None:
        """Sets the deadline for the next packet to `limit_s` from now."""
        self._waiting_since_s, self._limit_s = time.monotonic(), limit_s
        self._input.restart(limit_s)

    def _has_waited(self) -> bool:
        return time.monotonic() - self._waiting_since_s >= self._limit_s

    def _message(self, text: str) -> str:
        return scrub(f"{redact(self._address).removeprefix('file:')}: {text}", self._address)
