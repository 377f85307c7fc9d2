"""Small videos of every kind. Each frame shows its own number."""

from __future__ import annotations

import io
import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.frame import PictureType
from PIL import Image

WIDTH, HEIGHT, BITS = 192, 112, 8


@dataclass(frozen=True)
class Footage:
    """How a test video is encoded. `times`: the times of its frames in ms, for a variable frame rate."""

    codec: str
    container: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    frames: int = 30
    fps: int = 10
    gop: int = 10
    size: tuple[int, int] = (WIDTH, HEIGHT)
    times: tuple[int, ...] = ()
    with_audio: bool = False
    colorspace: int | None = None
    rotation: int = 0
    muxing: dict[str, str] = field(default_factory=dict)


REALTIME = {"deadline": "realtime", "cpu-used": "8"}
ULTRAFAST = {"preset": "ultrafast"}
H264 = Footage("libx264", "mp4", options=ULTRAFAST)
VP9 = Footage("libvpx-vp9", "webm", options=REALTIME)
VP8 = Footage("libvpx", "webm", options=REALTIME)
MJPEG = Footage("mjpeg", "avi", "yuvj420p", options={"qmin": "2", "qmax": "2"})
MPEG4 = Footage("mpeg4", "avi", options={"qmin": "2", "qmax": "4"})
# libav finds its key frames in the index of the file alone.
WITHOUT_PARSER = replace(MPEG4, codec="msmpeg4")


def draw(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A coloured image whose upper half shows `number` in white and black blocks. uint8 [H, W, 3]"""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 200 // width + 20, y * 200 // height + 20, np.full_like(x, 90)], axis=-1)
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        image[: height // 2, left:right] = 235 if number >> bit & 1 else 20
    return image.astype(np.uint8)


def number_of(image: np.ndarray | torch.Tensor) -> int:
    """The number that an image of any size shows."""
    height, width = image.shape[:2]
    row = np.asarray(image[height // 4], np.float32).mean(-1)
    return sum(int(row[(2 * bit + 1) * width // (2 * BITS)] > 128) << bit for bit in range(BITS))


def jpeg(number: int) -> bytes:
    """A JPEG of `draw(number)`."""
    return _jpeg(Image.fromarray(draw(number)))


def black_jpeg() -> bytes:
    """A JPEG as of a covered lens."""
    return _jpeg(Image.new("RGB", (320, 240)))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(path: Path, footage: Footage, numbers: Iterable[int] | None = None, *, keys: Container[int] = ()) -> Path:
    """Encodes the footage into a file; returns its path. Frames are numbered from 0 unless `numbers` is given.

    keys: the indices of additional key frames.
    """
    width, height = footage.size
    with av.open(path, "w", format=footage.container, options=footage.muxing) as file:
        audio = _add_audio(file) if footage.with_audio else None
        video = file.add_stream(footage.codec, rate=footage.fps, options=footage.options)
        video.width, video.height, video.pix_fmt, video.gop_size = width, height, footage.pixels, footage.gop
        if footage.rotation:
            video.set_display_rotation(footage.rotation)
        if footage.colorspace is not None:
            context = video.codec_context
            context.colorspace = context.color_primaries = context.color_trc = footage.colorspace
        if footage.times:
            video.codec_context.time_base = Fraction(1, 1000)
        if audio is not None:
            _write_audio(file, audio, footage.frames / footage.fps)
        for index, number in enumerate(range(footage.frames) if numbers is None else numbers):
            frame = av.VideoFrame.from_ndarray(draw(number, width, height), format="rgb24")
            frame = frame.reformat(format=footage.pixels, dst_colorspace=footage.colorspace)
            frame.pts = footage.times[index] if footage.times else index
            frame.time_base = Fraction(1, 1000 if footage.times else footage.fps)
            frame.pict_type = PictureType.I if index in keys else PictureType.NONE
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def damage_all_but_key_frames(path: Path, damaged: Path, container: str) -> None:
    """Copies a video. Every frame that is no key frame becomes noise after its first bytes."""
    noise = np.random.default_rng(0)
    with av.open(path) as whole, av.open(damaged, "w", format=container) as file:
        video = whole.streams.video[0]
        copy = file.add_stream_from_template(video, opaque=True)
        for packet in whole.demux(video):
            if not packet.size:
                continue
            other = packet if packet.is_keyframe else av.Packet(bytes(packet)[:8] + noise.bytes(packet.size - 8))
            other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
            other.time_base, other.stream = packet.time_base, copy
            file.mux(other)


def drop_key_frames(path: Path, keyless: Path) -> None:
    """Copies an MPEG transport stream without its key frames."""
    with av.open(path) as whole, av.open(keyless, "w", format="mpegts") as file:
        video = whole.streams.video[0]
        copy = file.add_stream_from_template(video, opaque=True)
        for packet in whole.demux(video):
            if packet.size and not packet.is_keyframe:
                packet.stream = copy
                file.mux(packet)


def claim_size(path: Path, width: int, height: int) -> None:
    """Overwrites the frame size in all headers of an MJPEG file (AVI)."""
    data = path.read_bytes()
    for old, new in (
        (struct.pack("<II", WIDTH, HEIGHT), struct.pack("<II", width, height)),  # AVI
        (struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", height, width)),  # JPEG
    ):
        data = data.replace(old, new)
    path.write_bytes(data)


def write_audio(path: Path) -> Path:
    """A file with an audio stream only."""
    with av.open(path, "w") as file:
        _write_audio(file, _add_audio(file), 1.0)
    return path


def _add_audio(file: av.container.OutputContainer) -> av.AudioStream:
    return file.add_stream("mp2" if file.format.name == "mpegts" else "aac", rate=44100, layout="mono")


def _write_audio(file: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for at in range(0, int(44100 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, at, Fraction(1, 44100)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
