"""The cost of checkpoints and the time of a restore: python -m benchmarks.checkpoints --help.

Clips of simulated cameras are appended to memories as a shard's device does. After as many frames as a camera gives
between two checkpoints, one is taken and saved in an embedded Valkey, once with exact rows and once with int8 rows. The
cost is processor time of this process and of the store, relative to that of ingest; waiting does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import statistics
import time
from dataclasses import asdict, dataclass, replace

import structlog
import torch

from actors.config.shards import ShardsConfig
from benchmarks import measured_store, real_shape, restoring, result_file, streets
from benchmarks.measured_store import MeasuredStore
from benchmarks.restoring import Restore
from benchmarks.streets import CAMERA, STREETS
from cache_store import checkpoint_codec
from cache_store.row_format import RowFormat
from cache_store.tiers import MemoryConfig
from models import registry
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.device.camera_memory import CameraMemory
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig

_SECONDS_A_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the intervals between two checkpoints, in seconds of processor time, except save_wall_s.

    feed_s: the frames of an interval up to their clips: resizing and thumbnails, for an encoded camera demuxing and
    decoding too. device_s: the work of the device on these clips.
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
    snapshot_s: float  # on the device's thread, so ingest waits for it
    save_s: float  # in this process
    store_s: float  # of the store's process
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
    print(table(costs), restoring.described(restores), sep="\n\n")
    result_file.write(options.json, figures(costs, restores), machine_suffix=f", torch {torch.__version__}")


def figures(costs: list[Cost], restores: list[Restore]) -> dict[str, object]:
    """All figures; those with a promised limit come first."""
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
    """Fills the memory of one camera, then measures some intervals, each ended by a checkpoint in each row format."""
    interval_s = ShardsConfig().checkpoint_every_s
    settings, street, side = IngestConfig(), STREETS[camera], model.spec.layout.square
    budget = MemoryConfig(tokens_per_layer=tokens)
    writer = MemoryWriter(model, budget, max_frames=settings.frames_per_clip, reserve=320)
    memory, decoded = streets.empty_memory(model, writer, street), streets.frames(street, settings)
    decode_s = streets.decode_s(interval_s, settings.sample_fps) if street.is_encoded else None
    while not memory.memory.compactions:
        memory.append(streets.clip(*next(decoded), side, settings))
    frames = round(interval_s * settings.sample_fps)
    num_clips = -(-frames // settings.frames_per_clip)
    # Only whole clips are appended, which may be a little more than an interval.
    part = frames / (num_clips * settings.frames_per_clip)
    costs: dict[RowFormat, list[tuple[float, ...]]] = {rows: [] for rows in RowFormat}
    async with contextlib.AsyncExitStack() as stack:
        stores = {rows: await stack.enter_async_context(measured_store.running(CAMERA)) for rows in RowFormat}
        # The first checkpoint is left out: it writes every thumbnail.
        for interval in range(intervals + 1):
            interval_frames = [next(decoded) for _ in range(num_clips)]
            feed_s = time.thread_time()
            clips = [streets.clip(*one, side, settings) for one in interval_frames]
            feed_s = part * (time.thread_time() - feed_s) if decode_s is None else decode_s
            device_s = _append(memory, clips)
            # The second of two checkpoints finds the memory in the processor's caches, so the formats take turns.
            for rows in sorted(stores, reverse=bool(interval % 2)):
                cost = await _save(memory, rows, stores[rows])
                if interval:
                    costs[rows].append((feed_s, part * device_s, *cost))
    return [
        Cost(camera, rows, model.spec.name, tokens, interval_s, intervals, frames, *(round(mean, 5) for mean in means))
        for rows, means in ((rows, map(statistics.fmean, zip(*some, strict=True))) for rows, some in costs.items())
    ]


def _append(memory: CameraMemory, clips: list[Clip]) -> float:
    started_s = time.thread_time()
    for clip in clips:
        memory.append(clip)
    return time.thread_time() - started_s


async def _save(
    memory: CameraMemory, rows: RowFormat, measured: MeasuredStore
) -> tuple[float, float, float, float, float]:
    """Snapshot, save and store in seconds of processor time, the save in seconds, and its bytes."""
    snapshot_s = time.thread_time()
    snapshot = checkpoint_codec.on_host(memory.snapshot(0, time.time()))
    snapshot_s = time.thread_time() - snapshot_s
    snapshot = replace(snapshot, facts=replace(snapshot.facts, rows=rows))
    nbytes = await measured.received_nbytes()
    store_s, save_s, wall_s = await measured.spent_s(), time.process_time(), time.perf_counter()
    await measured.store.save(CAMERA, snapshot, measured.owner)
    wall_s, save_s = time.perf_counter() - wall_s, time.process_time() - save_s
    store_s = await measured.spent_s() - store_s
    return snapshot_s, save_s, store_s, wall_s, await measured.received_nbytes() - nbytes


def table(costs: list[Cost]) -> str:
    """The costs as Markdown."""
    lines = [
        "| camera | rows | feed | device | snapshot | save | store | share | of the device | a minute |",
        "|---|---|" + "---:|" * 8,
    ]
    for cost in costs:
        times_s = (cost.feed_s, cost.device_s, cost.snapshot_s, cost.save_s, cost.store_s)
        spent = " | ".join(f"{1000 * one:.1f} ms" for one in times_s)
        shares = f"{cost.checkpoint_share:.1%} | {cost.checkpoint_share_of_device:.1%}"
        lines.append(
            f"| {cost.camera} | {cost.rows} | {spent} | {shares} | {cost.nbytes_per_camera_minute / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=20, help="measured intervals of each camera (tiny model)")
    parser.add_argument("--cameras", nargs="+", choices=STREETS, default=list(STREETS), help="simulated cameras")
    parser.add_argument(
        "--real-shape",
        type=int,
        default=0,
        help="intervals with the shape of LLaVA-OneVision 0.5B, a minute each",
    )
    parser.add_argument("--restores", type=int, default=25, help="pairs of a restore and a plain read")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
