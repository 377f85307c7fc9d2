"""What decodes in a shard without a GPU, in tests: libav for the codecs of a GPU."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence

import av
from av.error import FFmpegError

from pipeline.decoding.decoders import DecodedFrame, DecodeError, StreamFormat
from pipeline.decoding.libav import LibavDecoder
from pipeline.decoding.segments import Packet, Segment

H100 = (9, 0)


class LibavFiles:
    """Decodes video files with libav, and keeps what it was given. It is as strict as DALI: every image or none."""

    def __init__(self) -> None:
        self.formats: list[StreamFormat] = []
        self.files: list[bytes] = []
        self.threads: set[str] = set()

    def __call__(self, stream: StreamFormat) -> LibavFiles:
        self.formats.append(stream)
        return self

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        self.files.append(bytes(file))
        self.threads.add(threading.current_thread().name)
        try:
            with av.open(io.BytesIO(file)) as container:
                video = container.streams.video[0]
                packets = [packet for packet in container.demux(video) if packet.size]
                images = list(LibavDecoder(video.codec_context).decode(_segment(packets), indices))
        except FFmpegError as error:
            raise DecodeError(f"libav: {error.strerror}") from error
        if [decoded.index for decoded in images] != list(indices):
            raise DecodeError("libav: an image is missing")
        yield from images


class BrokenFiles(LibavFiles):
    """Decodes nothing."""

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        self.files.append(bytes(file))
        raise DecodeError("broken on purpose")


class CrashingFiles(LibavFiles):
    """Fails in a way that nobody foresaw."""

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        self.files.append(bytes(file))
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def _segment(packets: list[av.Packet]) -> Segment:
    entries = [Packet(packet.pts, packet.dts, packet.is_keyframe, packet.size, packet) for packet in packets]
    return Segment(tuple(entries), tuple(sorted(entry.pts_s for entry in entries)))
