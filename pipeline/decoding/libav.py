"""Decoding with libav: any codec, on the calling thread. Images are converted on demand."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.decoding.decoders import DecodedFrame
from pipeline.decoding.images import ArrayImage, Pixels
from pipeline.decoding.segments import Packet, Segment

# With chroma interpolation and rounding, bit for bit the same as DALI on a CPU. libav's default is 1.4 levels off.
_EXACT = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_Scalers = defaultdict[Interpolation, VideoReformatter]


class LibavDecoder:
    """Decodes segments of one stream. Belongs to the thread that opened the stream."""

    def __init__(self, context: av.VideoCodecContext) -> None:
        self._context = context
        self._scalers: _Scalers = defaultdict(VideoReformatter)
        self._before_packet: Callable[[], object] = lambda: None

    def watch(self, before_packet: Callable[[], object]) -> None:
        """Calls this before each packet that is decoded: libav may never come back from one."""
        self._before_packet = before_packet

    def decode(self, segment: Segment, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        """As `Decoder` specifies, for any codec. A damaged segment gives fewer images, never a DecodeError."""
        context = self._context
        context.flush_buffers()
        indices_of = _indices_by_pts(segment)
        needed = {pts for pts, queue in indices_of.items() if pts is None or not set(indices).isdisjoint(queue)}
        pending = deque(indices)
        for packet in (*map(av_packet, segment.packets), None):
            self._before_packet()
            context.skip_frame = "DEFAULT" if packet is None or packet.pts in needed else "NONREF"
            for frame in _decode(context, packet):
                if not indices_of[frame.pts] or (index := indices_of[frame.pts].popleft()) < pending[0]:
                    continue
                while pending and pending[0] <= index:
                    pending.popleft()
                yield DecodedFrame(index, _LibavImage(frame, round(frame.rotation / 90) % 4, self._scalers))
                if not pending:
                    return

    def rotation_deg(self, segment: Segment) -> int:
        """Degrees counter-clockwise that turn the segment's first image upright; 0 if it cannot be decoded."""
        frame = self.first_frame(segment)
        return 0 if frame is None else int(frame.rotation) % 360

    def first_frame(self, segment: Segment) -> av.VideoFrame | None:
        """The segment's first frame, None if it cannot be decoded."""
        context = self._context
        context.flush_buffers()
        for packet in (av_packet(segment.packets[0]), None):
            for frame in _decode(context, packet):
                return frame
        return None


class KeyFrameReader:
    """Reads from the frames themselves which of them are key frames. For codecs that give each frame at once."""

    def __init__(self, stream: av.VideoCodecContext) -> None:
        """stream: the context of the stream's own decoder; it is only read."""
        self._context = av.CodecContext.create(stream.name, "r")
        self._context.extradata, self._context.codec_tag = stream.extradata, stream.codec_tag
        self._context.width, self._context.height = stream.width, stream.height
        self._context.thread_count = 1
        self._context.skip_frame = "NONKEY"  # the decoder reads the header, and decodes key frames only

    def is_key(self, packet: av.Packet) -> bool:
        """Whether the packet is a whole key frame."""
        return bool(_decode(self._context, packet))


def av_packet(packet: Packet) -> av.Packet:
    """The packet that libav demuxed."""
    return cast(av.Packet, packet.body)


def _decode(context: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    """The frames that this packet completes; none if it is damaged."""
    try:
        return list(context.decode(packet))
    except FFmpegError:
        return []


class _LibavImage:
    """An image as libav decoded it."""

    def __init__(self, frame: av.VideoFrame, turns: int, scalers: _Scalers) -> None:
        """turns: quarter turns, counter-clockwise, that make it upright. scalers: shared by the images of a stream."""
        self._frame, self._turns, self._scalers = frame, turns, scalers
        size = (frame.height, frame.width)
        self.height, self.width = size[::-1] if self._turns % 2 else size

    def to_rgb(self) -> Pixels:
        return self._rgb(self.height, self.width, Interpolation.BILINEAR | _EXACT)

    def to_preview(self) -> Pixels:
        return self._rgb(self.height, self.width, Interpolation.BILINEAR)

    def resize(self, height: int, width: int) -> Pixels:
        try:
            return self._rgb(height, width, Interpolation.BICUBIC | _EXACT)
        except FFmpegError:
            # libav refuses to shrink one side to a 64th and to stretch the other, e.g. 4096 x 2 to a square.
            return ArrayImage(self.to_rgb()).resize(height, width)

    def downscale(self, height: int, width: int) -> _LibavImage:
        name = self._frame.format.name
        pixel_format = name if name.startswith("yuv") else "rgb24"
        frame = self._reformatted(height, width, pixel_format, Interpolation.AREA | _EXACT)
        return _LibavImage(frame, self._turns, self._scalers)

    def _rgb(self, height: int, width: int, interpolation: Interpolation) -> Pixels:
        pixels: Pixels = self._reformatted(height, width, "rgb24", interpolation).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, self._turns)) if self._turns else pixels

    def _reformatted(self, height: int, width: int, name: str, interpolation: Interpolation) -> av.VideoFrame:
        height, width = (width, height) if self._turns % 2 else (height, width)
        # By default libav starts as many threads as there are cores, for each image.
        scaler = self._scalers[interpolation]
        return scaler.reformat(self._frame, width, height, name, interpolation=int(interpolation), threads=1)


def _indices_by_pts(segment: Segment) -> defaultdict[int | None, deque[int]]:
    """Indices in times_s by the pts of libav, which may be missing or repeated."""
    visible = sorted((packet for packet in segment.packets if packet.is_visible), key=lambda packet: packet.pts_s)
    indices: defaultdict[int | None, deque[int]] = defaultdict(deque)
    for index, packet in enumerate(visible):
        indices[av_packet(packet).pts].append(index)
    return indices
