"""Whether the footprint of ingest grows over hours: python -m benchmarks.soak --help.

Cameras of three codecs play recordings as fast as possible, repeatedly, until each has played so many hours of its own
time. After the first tenth, memory, threads and open files should not grow.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import psutil
import structlog
import torch

from benchmarks import result_file
from models.tiny.scenes.scene import Scene
from pipeline.cameras import CameraSpec, CameraState, PlaybackSpeed
from pipeline.decoding import dali
from pipeline.decoding.video_writer import write_video
from pipeline.sources import clip_builder
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig

CODECS: tuple[Literal["h264", "vp9", "mjpeg"], ...] = ("h264", "vp9", "mjpeg")
WIDTH, HEIGHT, FPS, RECORDING_S = 320, 180, 10, 120
FRAME_SIZE = 64


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory, threads and open files of the process after so many hours of each camera."""

    hours: float
    rss_mb: float
    threads: int
    files: int
    frames: int


class _Camera:
    """One camera. Its recording is restarted each time it ends."""

    def __init__(self, name: str, path: Path, clips: ClipQueue) -> None:
        self.plays = 0
        self.failure = ""
        self._spec = CameraSpec(name=name, url=str(path), pace=PlaybackSpeed.FAST)
        self._clips = clips
        self._is_over = threading.Event()
        self._feed = self._start()

    def restart_if_over(self) -> None:
        """Restarts the recording if it has ended. Raises RuntimeError if it failed."""
        if self.failure:
            raise RuntimeError(self.failure)
        if self._is_over.is_set():
            self._feed.stop()
            self.plays += 1
            self._is_over.clear()
            self._feed = self._start()

    def stop(self) -> None:
        """Stops the feed."""
        self._feed.stop()

    def _start(self) -> CameraFeed:
        config = IngestConfig(sample_fps=1, device="cpu", video_folders=(Path(self._spec.url).parent,))
        feed = CameraFeed(
            self._spec,
            config,
            clip_builder.square(FRAME_SIZE),
            self._clips,
            on_state=self._on_state,
            choose_decoder=dali.decoder_for,
        )
        feed.start()
        return feed

    def _on_state(self, state: CameraState, detail: str, _reason: object, _note: object) -> None:
        self.failure = detail if state is CameraState.FAILED else self.failure
        if state in (CameraState.ENDED, CameraState.FAILED):
            self._is_over.set()


def main() -> None:
    """Plays, prints a Markdown table with a row for each twentieth of the time, and writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--hours", type=float, default=2.0, help="of each camera's own time")
    result_file.add_option(parser)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        recordings = [_record(Path(folder) / codec, codec) for codec in CODECS]
        print("| hours of each camera | RSS, MB | threads | open files | frames |\n|---:|---:|---:|---:|---:|")
        rows = []
        for row in soak(recordings, options.cameras, options.hours):
            rows.append(row)
            print(f"| {' | '.join(str(cell) for cell in asdict(row).values())} |", flush=True)
    result_file.write(options.json, {"cameras": options.cameras}, rows=rows)


def soak(recordings: list[Path], cameras: int, hours: float) -> Iterator[Footprint]:
    """The footprint after each twentieth of the time."""
    clips = ClipQueue(4)
    paths = cycle(recordings)
    feeds = [_Camera(f"camera-{number}", next(paths), clips) for number in range(cameras)]
    rows = 0
    frames, plays = 0, hours * 3600 / RECORDING_S
    while rows < 20:
        while (clip := clips.take()) is not None:
            frames += len(clip.times_s)
        for camera in feeds:
            camera.restart_if_over()
        if sum(camera.plays for camera in feeds) / cameras >= plays * (rows + 1) / 20:
            rows += 1
            yield _footprint(hours * rows / 20, frames)
        time.sleep(0.002)
    for camera in feeds:
        camera.stop()


def _footprint(hours: float, frames: int) -> Footprint:
    process = psutil.Process()
    return Footprint(
        hours=round(hours, 2),
        rss_mb=round(process.memory_info().rss / 1e6, 1),
        threads=process.num_threads(),
        files=process.num_fds(),
        frames=frames,
    )


def _record(path: Path, codec: Literal["h264", "vp9", "mjpeg"]) -> Path:
    scene = Scene(7)
    images = (scene.frame(index / FPS, WIDTH, HEIGHT) for index in range(RECORDING_S * FPS))
    write_video(images, path, fps=FPS, codec=codec)
    return path


if __name__ == "__main__":
    main()
