"""What checkpoints cost and how fast they come back: python -m benchmarks.checkpoints --help.

Simulated cameras are read into memories as a shard's device does; after as many frames as a camera shows between two
checkpoints, one is taken and saved in an embedded Valkey, once with exact rows and once with int8 rows. Work is time on
a processor, of this process and of the store, against that of the ingest; waiting is not work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog
import torch

from actors.config.schema import ShardsConfig
from benchmarks import ingest as ingest_bench
from benchmarks import own_store, real_shape, restoring, result_file
from benchmarks.own_store import OwnStore
from benchmarks.restoring import Restore
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import registry
from models.memory_writer import MemoryWriter
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.decoding import images
from pipeline.decoding.images import ArrayImage
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate, StaticGate
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig

_CAMERA = "camera"
_SECONDS_A_MINUTE = 60.0
_FRAME_HEIGHT, _FRAME_WIDTH = 360, 640


@dataclass(frozen=True, slots=True)
class Street:
    """What a camera shows, and whether it has a gate."""

    mean_gap_s: float
    is_gated: bool = True
    is_encoded: bool = False  # 1080p H.264 as in benchmarks.ingest, demuxed and decoded, not drawn


STREETS = {
    "1080p": Street(6.0, is_gated=False, is_encoded=True),
    "ungated": Street(6.0, is_gated=False),
    "busy": Street(2.0),
    "ordinary": Street(4.0),  # as the demo's
    "calm": Street(30.0),
    "quiet": Street(3_600.0),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the intervals between two checkpoints. Seconds of processor time, but for save_wall_s.

    Ingest is what a frame costs up to its clip (feed_s): its reduction and its picture, and of an encoded camera its
    demuxing and decoding; and the device's work (device_s).
    """

    camera: str
    rows: str
    model: str
    tokens_per_layer: int
    interval_s: float
    intervals: int
    frames: int
    feed_s: float
    device_s: float
    snapshot_s: float  # on the device's thread: what ingest waits for
    save_s: float  # of this process
    store_s: float  # of the store's
    save_wall_s: float
    nbytes: float

    @property
    def checkpoint_s(self) -> float:
        return self.snapshot_s + self.save_s + self.store_s

    @property
    def checkpoint_share(self) -> float:
        return self.checkpoint_s / (self.feed_s + self.device_s)

    @property
    def checkpoint_share_of_device(self) -> float:
        return self.checkpoint_s / self.device_s

    @property
    def nbytes_per_camera_minute(self) -> float:
        return self.nbytes * _SECONDS_A_MINUTE / self.interval_s


def main() -> None:
    """Measures, prints Markdown, and writes JSON if asked."""
    options = _options()
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    costs = []
    for camera in options.cameras:
        costs += asyncio.run(measure_costs(registry.load_model("tiny"), 256, camera, options.intervals))
        print(table(costs[-len(RowFormat) :]), flush=True)
    if options.real_shape:
        costs += asyncio.run(measure_costs(real_shape.load(), 4_000, "ungated", options.real_shape))
    restores = [asyncio.run(restoring.measure(options.restores, rows)) for rows in RowFormat]
    print(table(costs), restoring.told(restores), sep="\n\n")
    result_file.write(options.json, figures(costs, restores), machine_suffix=f", torch {torch.__version__}")


def figures(costs: list[Cost], restores: list[Restore]) -> dict[str, object]:
    """All of them, those that the promises are about first."""
    return {
        "checkpoint_share": round(costs[0].checkpoint_share, 4),
        "bytes_per_camera_minute": round(costs[0].nbytes_per_camera_minute),
        "restore_over_raw_read": restores[0].restore_over_raw_read,
        "costs": [
            asdict(cost)
            | {
                "checkpoint_share": round(cost.checkpoint_share, 4),
                "checkpoint_share_of_device": round(cost.checkpoint_share_of_device, 4),
                "bytes_per_camera_minute": round(cost.nbytes_per_camera_minute),
            }
            for cost in costs
        ],
        "restores": [asdict(restore) for restore in restores],
    }


async def measure_costs(model: VideoLanguageModel, tokens: int, camera: str, intervals: int) -> list[Cost]:
    """One camera, read until its memory is full, then over some intervals, each ended by a checkpoint in each rows."""
    interval_s = ShardsConfig().checkpoint_every_s
    settings = IngestConfig()
    reader = MemoryWriter(
        model, MemoryConfig(tokens_per_layer=tokens), max_frames=settings.frames_per_clip, reserve=320
    )
    watching = _watching(model, reader, STREETS[camera])
    stream = _shown(settings, STREETS[camera])
    dts_s = played_s(interval_s, settings.sample_fps) if STREETS[camera].is_encoded else None
    while not watching.memory.compactions:
        watching.append(_clip(*next(stream), model.spec.frame_size, settings))
    frames = round(interval_s * settings.sample_fps)
    num_clips = -(-frames // settings.frames_per_clip)
    # Whole clips are read, which may be a little more than an interval.
    part = frames / (num_clips * settings.frames_per_clip)
    spent: dict[RowFormat, list[tuple[float, ...]]] = {rows: [] for rows in RowFormat}
    async with contextlib.AsyncExitStack() as stack:
        rooms = {rows: await stack.enter_async_context(own_store.running(_CAMERA)) for rows in RowFormat}
        # The first checkpoint of all has every picture to write.
        for interval in range(intervals + 1):
            shown = [next(stream) for _ in range(num_clips)]
            fed_s = time.thread_time()
            ready = [_clip(*one, model.spec.frame_size, settings) for one in shown]
            fed_s = part * (time.thread_time() - fed_s) if dts_s is None else dts_s
            device_s = _read(watching, ready)
            # The second of two finds the memory in the processor's caches: they take turns.
            for rows in sorted(rooms, reverse=bool(interval % 2)):
                found = await _save(watching, rows, rooms[rows])
                if interval:
                    spent[rows].append((fed_s, part * device_s, *found))
    return [
        Cost(camera, rows, model.spec.name, tokens, interval_s, intervals, frames, *(round(mean, 5) for mean in means))
        for rows, means in ((rows, map(statistics.fmean, zip(*found, strict=True))) for rows, found in spent.items())
    ]


def played_s(seconds: float, sample_fps: float) -> float:
    """Processor time from the file to the clips, of so many seconds of an encoded camera; the median of five."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.mp4"
        film_s = round(seconds)
        ingest_bench.film_camera(path, film_s)
        play = functools.partial(ingest_bench.play_camera, sample_fps=sample_fps)
        spent_ms = statistics.median(ingest_bench.spent_ms(play, path) for _ in range(5))
    return spent_ms / 1000 * seconds / film_s


def _watching(model: VideoLanguageModel, reader: MemoryWriter, street: Street) -> CameraMemory:
    held = Memory(Slabs(model.spec.kv, slots=1, capacity=reader.capacity), 0)
    static = StaticGate(model.spec.tokens_per_frame, key_frame_every_s=DeviceConfig().key_frame_every_s)
    entrance = static if street.is_gated else OpenGate(model.spec.tokens_per_frame)
    return CameraMemory(_CAMERA, held, reader, entrance, gap_after_s=3.0, started_s=0.0)


def _read(camera: CameraMemory, ready: list[Clip]) -> float:
    began_s = time.thread_time()
    for clip in ready:
        camera.append(clip)
    return time.thread_time() - began_s


async def _save(camera: CameraMemory, rows: RowFormat, room: OwnStore) -> tuple[float, float, float, float, float]:
    copied_s = time.thread_time()
    taken = camera.snapshot(0, time.time())
    copied_s = time.thread_time() - copied_s
    taken = replace(taken, facts=replace(taken.facts, rows=rows))
    received = await room.received_nbytes()
    theirs_s, ours_s, wall_s = await room.spent_s(), time.process_time(), time.perf_counter()
    await room.store.save(_CAMERA, taken, room.owner)
    wall_s, ours_s = time.perf_counter() - wall_s, time.process_time() - ours_s
    theirs_s = await room.spent_s() - theirs_s
    return copied_s, ours_s, theirs_s, wall_s, await room.received_nbytes() - received


def table(costs: list[Cost]) -> str:
    """The costs as Markdown."""
    lines = [
        "| camera | rows | feed | device | snapshot | save | store | share | of the device | a minute |",
        "|---|---|" + "---:|" * 8,
    ]
    for cost in costs:
        spent_s = (cost.feed_s, cost.device_s, cost.snapshot_s, cost.save_s, cost.store_s)
        spent = " | ".join(f"{1000 * one:.1f} ms" for one in spent_s)
        shares = f"{cost.checkpoint_share:.1%} | {cost.checkpoint_share_of_device:.1%}"
        lines.append(
            f"| {cost.camera} | {cost.rows} | {spent} | {shares} | {cost.nbytes_per_camera_minute / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def _shown(settings: IngestConfig, street: Street) -> Iterator[tuple[torch.Tensor, tuple[float, ...]]]:
    """A simulated street as a decoder would bring it, a clip at a time."""
    world = Scene(seed=7, mean_gap_s=street.mean_gap_s)
    for start in itertools.count(step=settings.frames_per_clip):
        times_s = tuple((start + offset) / settings.sample_fps for offset in range(settings.frames_per_clip))
        yield torch.stack([torch.from_numpy(world.frame(at, _FRAME_WIDTH, _FRAME_HEIGHT)) for at in times_s]), times_s


def _clip(shown: torch.Tensor, times_s: tuple[float, ...], side: int, settings: IngestConfig) -> Clip:
    previews = tuple(images.make_preview(ArrayImage(pixels), settings.thumbnail_width) for pixels in shown)
    return Clip(_CAMERA, images.resize_frames(shown, side, side), times_s, previews, times_s[-1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=20, help="of each camera, with the tiny model")
    parser.add_argument("--cameras", nargs="+", choices=STREETS, default=list(STREETS), help="what is watched")
    parser.add_argument(
        "--real-shape", type=int, default=0, help="checkpoints of LLaVA-OneVision 0.5B's; a minute each"
    )
    parser.add_argument("--restores", type=int, default=25, help="pairs")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
