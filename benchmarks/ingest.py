"""What a camera costs the processor: python -m benchmarks.ingest --help.

The camera is 1080p H.264 with one key frame per second; one frame per second is sampled. Measured is the way from the
file to the clip that the device takes: demux, split, decode, reduce to the model's square and to a preview, in a thread
and in a worker. The baseline is PyAV alone: demux, decode the key frames, reformat to the model's square. All run in
turn, each on one thread; the figures are medians of processor time of this process and of its worker. With --json also:
what the change gate saves on a quiet camera, measured, and the accuracy it costs, from the newest rows of
benchmarks.gate.

With --cameras N instead: what questions to one shard wait for while it ingests N cameras, in threads and in workers.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import structlog
import torch

from benchmarks import gate, ingest_load, ingest_workers, result_file
from benchmarks.gate import GOALS
from benchmarks.ingest_load import Load
from models import registry
from models.tiny.scenes.scene import Scene
from pipeline.cameras import CameraSpec, CameraState, PlaybackSpeed, Polygon
from pipeline.decoding import dali
from pipeline.decoding.video_writer import write_video
from pipeline.sources import clip_builder
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig

WIDTH, HEIGHT, FPS, BITS_PER_S = 1920, 1080, 25, 4_000_000
FRAME_SIZE = 64  # of the tiny model
GATE_ROWS = Path(__file__).parents[1] / "docs" / "gate" / "rows.jsonl"


@dataclass(frozen=True, slots=True)
class Costs:
    """What ingest costs. The _ms fields are milliseconds of processor time for one second of one camera."""

    cameras_per_core: float
    worker_cameras_per_core: float
    over_bare_pyav: float
    ingest_ms: float
    worker_ingest_ms: float
    masked_ingest_ms: float
    bare_pyav_ms: float
    default_pyav_ms: float
    seconds: int
    pairs: int


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="length of the video")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--minutes", type=int, default=10, help="of the quiet camera, with --json")
    parser.add_argument("--cameras", type=int, default=0, help="of one shard that is asked meanwhile")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="settings of ingest.workers for that")
    result_file.add_option(parser)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    if options.cameras:
        loads = list(under_load(options.seconds, options.cameras, options.workers))
        print(ingest_load.table(loads))
        result_file.write(options.json, {f"{load.workers}_workers": asdict(load) for load in loads})
        return
    costs = measure(options.seconds, options.pairs)
    print(_table(costs))
    if options.json:
        result_file.write(options.json, asdict(costs) | quiet(options.minutes) | recorded_loss())


def measure(seconds: int, pairs: int) -> Costs:
    """Encodes a scene, then plays it in each way in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.mp4"
        film_camera(path, seconds)
        for play in _WAYS:
            assert play(path) == seconds, f"{play.__name__} did not give one frame per second"
        in_worker = ingest_workers.plays_ms(path)
        spent = [[*(spent_ms(play, path) for play in _WAYS), next(in_worker)] for _ in range(pairs)]
        in_worker.close()
    ingest_ms, bare_ms, masked_ms, default_ms, worker_ms = (
        statistics.median(way) / seconds for way in zip(*spent, strict=True)
    )
    return Costs(
        cameras_per_core=round(1000 / ingest_ms, 1),
        worker_cameras_per_core=round(1000 / worker_ms, 1),
        over_bare_pyav=round(statistics.median(ingest / bare for ingest, bare, *_ in spent), 3),
        ingest_ms=round(ingest_ms, 2),
        worker_ingest_ms=round(worker_ms, 2),
        masked_ingest_ms=round(masked_ms, 2),
        bare_pyav_ms=round(bare_ms, 2),
        default_pyav_ms=round(default_ms, 2),
        seconds=seconds,
        pairs=pairs,
    )


def under_load(seconds: int, cameras: int, settings: list[int]) -> Iterator[Load]:
    """What questions wait for while so many cameras are ingested for so many seconds, for each number of workers."""
    model = registry.load_model("tiny", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.mp4"
        film_camera(path, min(seconds, 20))
        for workers in settings:
            yield ingest_load.measure(model, path, workers, cameras, seconds)


def film_camera(path: Path, seconds: int) -> None:
    """Encodes the camera's video."""
    scene = Scene(7)
    images = (scene.frame(index / FPS, WIDTH, HEIGHT) for index in range(seconds * FPS))
    write_video(images, path, fps=FPS, codec="h264", bits_per_s=BITS_PER_S)


def quiet(minutes: int) -> dict[str, float]:
    """By which factor the gate lowers the cost of a quiet camera: in tokens, and in time of the device thread."""
    rows = gate.quiet_rows(registry.load_model("tiny", "cpu"), minutes)
    return {row.metric: row.value for row in rows if row.metric in GOALS}


def recorded_loss(path: Path = GATE_ROWS) -> dict[str, float | str]:
    """The largest loss of accuracy that benchmarks.gate has recorded, in points; measuring it takes too long here."""
    rows = result_file.read_rows(path)
    worst = max((row for row in rows if row["metric"] == "gate_loss_points"), key=lambda row: row["value"])
    return {"gate_loss_points": worst["value"], "gate_loss_of": worst["of"], "gate_loss_commit": worst["commit"]}


def play_bare(path: Path, threads: int = 1) -> int:
    """PyAV alone; returns the number of frames. `threads` 0: PyAV's own choice."""
    frames = 0
    with av.open(path) as container:
        video = container.streams.video[0]
        video.codec_context.skip_frame, video.codec_context.thread_count = "NONKEY", threads
        for frame in container.decode(video):
            frame.reformat(FRAME_SIZE, FRAME_SIZE, "rgb24", threads=threads).to_ndarray()
            frames += 1
    return frames


def play_bare_by_default(path: Path) -> int:
    """PyAV alone with its own number of threads."""
    return play_bare(path, threads=0)


def play_camera(path: Path, masks: tuple[Polygon, ...] = (), *, sample_fps: float = 1.0) -> int:
    """A camera's feed as a shard runs it; returns the number of sampled frames."""
    is_over, has_clip = threading.Event(), threading.Event()
    clips = ClipQueue(4, on_put=has_clip.set)

    def on_state(state: CameraState, detail: str, _reason: object, _note: object) -> None:
        if state in (CameraState.ENDED, CameraState.FAILED):
            is_over.set()
            has_clip.set()

    spec = CameraSpec(name="camera", url=str(path), pace=PlaybackSpeed.FAST, masks=masks)
    config = IngestConfig(sample_fps=sample_fps, device="cpu", video_folders=(path.parent,))
    feed = CameraFeed(
        spec, config, clip_builder.square(FRAME_SIZE), clips, on_state=on_state, choose_decoder=dali.decoder_for
    )
    frames = 0
    feed.start()
    while not is_over.is_set() or clips.has_clips():
        has_clip.wait()
        has_clip.clear()
        while (clip := clips.take()) is not None:
            frames += len(clip.times_s)
    feed.stop()
    return frames


def play_masked_camera(path: Path) -> int:
    """The same with a privacy mask over a corner."""
    return play_camera(path, masks=(((0.0, 0.0), (0.3, 0.0), (0.0, 0.3)),))


_WAYS = (play_camera, play_bare, play_masked_camera, play_bare_by_default)


def spent_ms(play: Callable[[Path], int], path: Path) -> float:
    """Processor time of this process while it plays."""
    began_s = time.process_time()
    play(path)
    return (time.process_time() - began_s) * 1e3


def _table(costs: Costs) -> str:
    rows = {
        "ingest": costs.ingest_ms,
        "ingest in a worker": costs.worker_ingest_ms,
        "ingest, with a privacy mask": costs.masked_ingest_ms,
        "PyAV alone, one thread": costs.bare_pyav_ms,
        "PyAV alone, its own number of threads": costs.default_pyav_ms,
    }
    lines = [f"| {name} | {ms} | {1000 / ms:.0f} |" for name, ms in rows.items()]
    head = "| | ms of processor time for a second of a camera | cameras per core |\n|---|---:|---:|"
    over = f"ingest relative to PyAV alone on one thread: {costs.over_bare_pyav}"
    return "\n".join([head, *lines, "", f"{over} (median of {costs.pairs} pairs, {costs.seconds} s of video)"])


if __name__ == "__main__":
    main()
