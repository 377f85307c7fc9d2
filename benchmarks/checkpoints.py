"""What checkpoints cost and how fast they come back: python -m benchmarks.checkpoints --help.

Simulated cameras are read into memories as a shard's device does; after as many frames as a camera shows between two
checkpoints, one is taken and saved in an embedded Valkey. Work is time on a processor, of this process and of the
store, against that of the ingest; waiting is not work. Restoring is measured against the same client reading the same
bytes and holding them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from actors import config
from benchmarks import own_store, real_shape
from cache_store import checkpoint, memory, slabs, store, tiers
from models import keeper, registry, vlm
from models.tiny import scene
from pipeline import clips, gate, ingest, pictures, watched

_CAMERA = "camera"
_SECONDS_A_MINUTE = 60.0
_FRAME_HEIGHT, _FRAME_WIDTH = 360, 640


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over the intervals between two checkpoints. Seconds of processor time, but for save_wall_s.

    Ingest is what a decoded frame costs: its reduction and its picture (feed_s), and the device's work (device_s).
    """

    model: str
    tokens_per_layer: int
    interval_s: float
    frames: int
    feed_s: float
    device_s: float
    snapshot_s: float  # on the device's thread: what ingest waits for
    save_s: float  # of this process
    store_s: float  # of the store's
    save_wall_s: float
    checkpoint_share: float
    checkpoint_share_of_device: float
    nbytes: int
    bytes_per_camera_minute: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Medians over pairs, and of their ratios."""

    nbytes: int
    load_s: float
    raw_read_s: float
    restore_over_raw_read: float


def main() -> None:
    """Measures, prints Markdown, and writes JSON if asked."""
    options = _options()
    torch.set_num_threads(1)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    costs = [asyncio.run(measure_cost(registry.load_model("tiny"), 256, options.intervals))]
    if options.real_shape:
        costs.append(asyncio.run(measure_cost(real_shape.load(), 4_000, options.real_shape)))
    restore = asyncio.run(measure_restore(options.restores))
    print(table(costs, restore))
    if options.json:
        rows = {"costs": [asdict(cost) for cost in costs], "restore": asdict(restore)}
        found = {"machine": machine, **figures(costs[0], restore), **rows}
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def figures(cost: Cost, restore: Restore) -> dict[str, float]:
    """What the promises are about."""
    return {
        "checkpoint_share": cost.checkpoint_share,
        "bytes_per_camera_minute": cost.bytes_per_camera_minute,
        "restore_over_raw_read": restore.restore_over_raw_read,
    }


async def measure_cost(model: vlm.VideoLanguageModel, tokens: int, intervals: int) -> Cost:
    """One camera, read until its memory is full, then over some intervals, each ended by a checkpoint."""
    interval_s = config.ShardsConfig().checkpoint_every_s
    settings = ingest.IngestConfig()
    reader = keeper.Keeper(
        model, tiers.MemoryConfig(tokens_per_layer=tokens), max_frames=settings.frames_per_clip, reserve=320
    )
    held = memory.Memory(slabs.Slabs(model.spec.kv, slots=1, capacity=reader.capacity), 0)
    # Everything is read: what a busy camera costs.
    entrance = gate.OpenGate(model.spec.tokens_per_frame)
    camera = watched.WatchedCamera(_CAMERA, held, reader, entrance, gap_after_s=3.0, started_s=0.0)
    stream = _shown(settings)
    while not held.compactions:
        camera.feed(_clip(*next(stream), model.spec.frame_size, settings))
    frames = round(interval_s * settings.sample_fps)
    num_clips = -(-frames // settings.frames_per_clip)
    # Whole clips are read, which may be a little more than an interval.
    part = frames / (num_clips * settings.frames_per_clip)
    async with own_store.running(_CAMERA) as room:
        rows = []
        for _ in range(intervals):
            shown = [next(stream) for _ in range(num_clips)]
            fed_s = time.thread_time()
            ready = [_clip(*one, model.spec.frame_size, settings) for one in shown]
            fed_s = time.thread_time() - fed_s
            device_s, *spent = await _one_interval(camera, ready, room)
            rows.append((part * fed_s, part * device_s, *spent))
    feed_s, device_s, snapshot_s, save_s, store_s, wall_s, nbytes = map(statistics.median, zip(*rows, strict=True))
    work = [(feeding, device, sum(parts)) for feeding, device, *parts, _, _ in rows]
    return Cost(
        model.spec.name,
        tokens,
        interval_s,
        frames,
        round(feed_s, 4),
        round(device_s, 4),
        round(snapshot_s, 5),
        round(save_s, 5),
        round(store_s, 5),
        round(wall_s, 4),
        round(statistics.median(spent / (feeding + device) for feeding, device, spent in work), 4),
        round(statistics.median(spent / device for _, device, spent in work), 4),
        round(nbytes),
        round(nbytes * _SECONDS_A_MINUTE / interval_s),
    )


async def _one_interval(
    camera: watched.WatchedCamera, ready: list[clips.Clip], room: own_store.OwnStore
) -> tuple[float, float, float, float, float, float]:
    began_s = time.thread_time()
    for clip in ready:
        camera.feed(clip)
    read_s = time.thread_time()
    taken = camera.snapshot(0, time.time())
    copied_s = time.thread_time()
    received = await room.received_nbytes()
    theirs_s, ours_s, wall_s = await room.spent_s(), time.process_time(), time.perf_counter()
    await room.store.save(_CAMERA, taken, room.owner)
    wall_s, ours_s = time.perf_counter() - wall_s, time.process_time() - ours_s
    theirs_s = await room.spent_s() - theirs_s
    nbytes = await room.received_nbytes() - received
    return read_s - began_s, copied_s - read_s, ours_s, theirs_s, wall_s, nbytes


async def measure_restore(pairs: int, *, layers: int = 24, tokens: int = 4_000) -> Restore:
    """A checkpoint of LLaVA-OneVision 0.5B's shape, loaded, and its chunks read and held, in turns."""
    async with own_store.running(_CAMERA) as room:
        await room.store.save(_CAMERA, _random_checkpoint(layers, tokens), room.owner)
        client = room.connection.client
        manifest = (await client.lrange(f"hermes:{{{_CAMERA}}}:manifests", 0, 0))[0]
        chunks = store.read_manifest(manifest).chunks
        rows = []
        for _ in range(pairs):
            began_s = time.perf_counter()
            pieces = [await client.get(chunk.key) for chunk in chunks]
            raw_s = time.perf_counter() - began_s
            del pieces
            began_s = time.perf_counter()
            loaded = await room.store.load(_CAMERA, "random")
            rows.append((time.perf_counter() - began_s, raw_s))
            del loaded
    return Restore(
        sum(chunk.nbytes for chunk in chunks),
        round(statistics.median(load_s for load_s, _ in rows), 4),
        round(statistics.median(raw_s for _, raw_s in rows), 4),
        round(statistics.median(load_s / raw_s for load_s, raw_s in rows), 3),
    )


def table(costs: list[Cost], restore: Restore) -> str:
    """The figures as Markdown."""
    lines = [
        "| model | tokens a layer | feed | device | snapshot | save | store | share | of the device | a minute |",
        "|---|" + "---:|" * 9,
    ]
    for cost in costs:
        spent_s = (cost.feed_s, cost.device_s, cost.snapshot_s, cost.save_s, cost.store_s)
        spent = " | ".join(f"{1000 * one:.1f} ms" for one in spent_s)
        shares = f"{cost.checkpoint_share:.2%} | {cost.checkpoint_share_of_device:.2%}"
        minute = f"{cost.bytes_per_camera_minute / 1e6:.1f} MB"
        lines.append(f"| {cost.model} | {cost.tokens_per_layer:,} | {spent} | {shares} | {minute} |")
    lines += [
        "",
        f"Restoring {restore.nbytes / 1e6:.1f} MB takes {1000 * restore.load_s:.0f} ms, reading the same bytes "
        f"{1000 * restore.raw_read_s:.0f} ms: {restore.restore_over_raw_read:.2f} times as long, median of pairs.",
    ]
    return "\n".join(lines)


def _shown(settings: ingest.IngestConfig) -> Iterator[tuple[torch.Tensor, tuple[float, ...]]]:
    """A simulated street as a decoder would bring it, a clip at a time."""
    world = scene.Scene(seed=7)
    for start in itertools.count(step=settings.frames_per_clip):
        times_s = tuple((start + offset) / settings.sample_fps for offset in range(settings.frames_per_clip))
        yield torch.stack([torch.from_numpy(world.frame(at, _FRAME_HEIGHT, _FRAME_WIDTH)) for at in times_s]), times_s


def _clip(shown: torch.Tensor, times_s: tuple[float, ...], side: int, settings: ingest.IngestConfig) -> clips.Clip:
    previews = tuple(pictures.preview_of(pictures.PixelPicture(pixels), settings.thumbnail_width) for pixels in shown)
    return clips.Clip(_CAMERA, pictures.reduce_frames(shown, side, side), times_s, previews, times_s[-1])


def _random_checkpoint(num_layers: int, num_tokens: int) -> checkpoint.Checkpoint:
    generator = torch.Generator().manual_seed(0)
    facts = checkpoint.CheckpointFacts(
        fingerprint="random",
        saved_s=0.0,
        started_s=0.0,
        newest_s=0.0,
        next_position=num_tokens,
        next_frame=num_tokens,
        frames_seen=num_tokens,
        frames_dropped=0,
        compactions=1,
    )
    return checkpoint.Checkpoint(facts, tuple(_random_layer(num_tokens, generator) for _ in range(num_layers)), {})


def _random_layer(num_tokens: int, generator: torch.Generator) -> memory.CachedTokens:
    places = torch.arange(num_tokens)
    keys, values = torch.randn(2, 2, num_tokens, 64, generator=generator).bfloat16()
    return memory.CachedTokens(keys, values, places, places, torch.ones_like(places), places.double())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=20, help="checkpoints of the tiny model's memory")
    parser.add_argument(
        "--real-shape", type=int, default=0, help="checkpoints of LLaVA-OneVision 0.5B's; a minute each"
    )
    parser.add_argument("--restores", type=int, default=25, help="pairs")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
