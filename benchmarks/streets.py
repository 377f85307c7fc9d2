"""Simulated streets for benchmarks: the clips of a camera, and a memory that takes them as a shard's device does."""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import ingest as ingest_bench
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models.memory_writer import MemoryWriter
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.decoding import images
from pipeline.decoding.images import ArrayImage, Pixels
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate, StaticGate
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig

CAMERA = "camera"
_FRAME_HEIGHT, _FRAME_WIDTH = 360, 640
_DECODE_RUNS = 5


@dataclass(frozen=True, slots=True)
class Street:
    """What a camera shows, and how its frames are read.

    mean_gap_s: mean time between two visits, in seconds. is_gated: whether unchanged patches are skipped. is_encoded:
    whether its ingest includes demuxing and decoding of 1080p H.264, as in benchmarks.ingest.
    """

    mean_gap_s: float
    is_gated: bool = True
    is_encoded: bool = False


STREETS = {
    "1080p": Street(6.0, is_gated=False, is_encoded=True),
    "ungated": Street(6.0, is_gated=False),
    "busy": Street(2.0),
    "ordinary": Street(4.0),  # as in the demo
    "calm": Street(30.0),
    "quiet": Street(3_600.0),
}


def empty_memory(model: VideoLanguageModel, writer: MemoryWriter, street: Street) -> CameraMemory:
    """A memory for the street's clips."""
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    gate = (
        StaticGate(model.spec.layout.grid, key_frame_every_s=DeviceConfig().key_frame_every_s)
        if street.is_gated
        else OpenGate(model.spec.layout.grid)
    )
    return CameraMemory(CAMERA, memory, writer, gate, gap_after_s=3.0, started_s=0.0)


def frames(street: Street, settings: IngestConfig) -> Iterator[tuple[Pixels, tuple[float, ...]]]:
    """The decoded frames of each clip, without end, with their times in seconds."""
    scene = Scene(seed=7, mean_gap_s=street.mean_gap_s)
    for start in itertools.count(step=settings.frames_per_clip):
        times_s = tuple((start + offset) / settings.sample_fps for offset in range(settings.frames_per_clip))
        yield np.stack([scene.frame(at, _FRAME_WIDTH, _FRAME_HEIGHT) for at in times_s]), times_s


def clip(decoded: Pixels, times_s: tuple[float, ...], side: int, settings: IngestConfig) -> Clip:
    """The clip of some decoded frames: resized for the model, with a thumbnail of each."""
    previews = tuple(images.make_preview(ArrayImage(pixels), settings.thumbnail_width) for pixels in decoded)
    return Clip(
        CAMERA, np.stack([ArrayImage(pixels).resize(side, side) for pixels in decoded]), times_s, previews, times_s[-1]
    )


def decode_s(seconds: float, sample_fps: float) -> float:
    """Processor time from a file of an encoded camera to its clips, for this many seconds of video; median of five."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.mp4"
        film_s = round(seconds)
        ingest_bench.film_camera(path, film_s)
        play = functools.partial(ingest_bench.play_camera, sample_fps=sample_fps)
        spent_ms = statistics.median(ingest_bench.spent_ms(play, path) for _ in range(_DECODE_RUNS))
    return spent_ms / 1000 * seconds / film_s
