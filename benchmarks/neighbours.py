"""How much a camera that is hard to decode delays the clips of others: python -m benchmarks.neighbours --help.

Four ordinary cameras play live, alone and beside one more camera, in turn. A delay is the time from a clip's newest
frame to its place in the queue, including the wait for the rest of its group of pictures; medians over all clips.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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

FRAME_SIZE = 64  # of the tiny model
NUM_ORDINARY = 4
MAX_CLIPS = 1_000
_ALONE = "no other camera"


@dataclass(frozen=True, slots=True)
class Kind:
    """A camera's video."""

    name: str
    width: int
    height: int
    fps: int
    gop_s: float
    bits_per_s: int


ORDINARY = Kind("ordinary", 1280, 720, 25, 1.0, 2_000_000)
HARD = (
    Kind("1080p at 60 frames/s, every frame a key frame", 1920, 1080, 60, 1 / 60, 40_000_000),
    Kind("1080p at 60 frames/s, a key frame a minute", 1920, 1080, 60, 60.0, 8_000_000),
)


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, help="length of each turn")
    parser.add_argument("--turns", type=int, default=3)
    result_file.add_option(parser)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    delays = measure(options.seconds, options.turns)
    print(_table(delays))
    result_file.write(options.json, delays)


def measure(seconds: int, turns: int) -> dict[str, float]:
    """The median delay in seconds of the ordinary cameras' clips, for each camera beside them."""
    with tempfile.TemporaryDirectory() as folder:
        ordinary = film(ORDINARY, seconds, Path(folder))
        beside = {_ALONE: ()} | {kind.name: (film(kind, seconds, Path(folder)),) for kind in HARD}
        delays: dict[str, list[float]] = {name: [] for name in beside}
        for _ in range(turns):
            for name, others in beside.items():
                delays[name] += delays_s([ordinary] * NUM_ORDINARY, others)
    return {name: round(statistics.median(values), 4) for name, values in delays.items()}


def film(kind: Kind, seconds: int, folder: Path) -> Path:
    """Encodes a scene as such a camera would; returns the file."""
    path = folder / f"{len(list(folder.iterdir()))}.mp4"
    scene = Scene(7)
    images = (scene.frame(index / kind.fps, kind.width, kind.height) for index in range(seconds * kind.fps))
    write_video(images, path, fps=kind.fps, codec="h264", gop_s=kind.gop_s, bits_per_s=kind.bits_per_s)
    return path


def delays_s(measured: Sequence[Path], others: Sequence[Path]) -> list[float]:
    """Plays all files at once to their ends; returns the delay of each clip of the measured ones, in seconds."""
    clips, ended = ClipQueue(MAX_CLIPS), threading.Semaphore(0)
    feeds = [_feed(path, f"measured-{index}", clips, ended) for index, path in enumerate(measured)]
    feeds += [_feed(path, f"other-{index}", clips, ended) for index, path in enumerate(others)]
    for feed in feeds:
        feed.start()
    for _ in feeds:
        ended.acquire()
    assert not any(clips.dropped_frames(f"measured-{index}") for index in range(len(measured)))
    return list(_delays_s(clips))


def _feed(path: Path, name: str, clips: ClipQueue, ended: threading.Semaphore) -> CameraFeed:
    def on_state(state: CameraState, detail: str, _reason: object, _note: object) -> None:
        assert state is not CameraState.FAILED, detail
        if state is CameraState.ENDED:
            ended.release()

    config = IngestConfig(device="cpu", video_folders=(path.parent,))
    spec = CameraSpec(name=name, url=str(path), pace=PlaybackSpeed.LIVE)
    return CameraFeed(
        spec, config, clip_builder.square(FRAME_SIZE), clips, on_state=on_state, choose_decoder=dali.decoder_for
    )


def _delays_s(clips: ClipQueue) -> Iterator[float]:
    while (clip := clips.take()) is not None:
        if clip.camera.startswith("measured"):
            yield clip.received_s - clip.times_s[-1]


def _table(delays: dict[str, float]) -> str:
    alone_s = delays[_ALONE]
    lines = ["| beside them | median delay of a clip, ms | relative to alone |", "|---|---:|---:|"]
    lines += [f"| {name} | {1e3 * delay_s:.0f} | {delay_s / alone_s:.3f} |" for name, delay_s in delays.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
