"""Measures how long cameras give no right answer after a fault or a move: python -m benchmarks.failover --help.

A whole system runs on a Ray cluster of several nodes on this machine: embedded store, shards, fleet. First cameras are
moved: how long questions wait, and how many sampled frames are lost. Then the process of a shard is killed, or its node
is killed, or its node hangs. Every camera of that shard is asked again and again, through the fleet, what came first,
until the answer is right. The first visitor is long out of view by then, so a right answer needs the memory of before.
A process is killed once more in a system with a spare, a shard that is up and empty. Last come the two promised figures
of `benchmarks.checkpoints`: the work on checkpoints, and the time of a restore.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import torch

from actors import embedded_store, logs, system
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.system import System
from benchmarks import checkpoints, machine, nodes, outages, restoring, result_file
from benchmarks.nodes import Nodes
from benchmarks.outages import FAULTS, Loss, Moves
from cache_store.row_format import RowFormat
from console.cli import terminal
from models import registry
from pipeline.device.device_config import DeviceConfig

_RESTORES = 25


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    options = _options()
    terminal.end_on_sigterm()
    # The pauses of moves are taken from the log.
    logs.log_to_stderr(logging.INFO)
    losses, moves = asyncio.run(measure(options)) if options.faults or options.moves else ([], Moves([], 0))
    spare_mb = 0.0
    if options.spare_repeats:
        with_spare, spare_mb = asyncio.run(measure_spare(options))
        losses += with_spare
    metrics = figures(losses, moves) | ({"spare_mb": spare_mb} if options.spare_repeats else {})
    if options.intervals:
        metrics |= asyncio.run(measure_checkpoints(options.intervals))
    print(f"{options.cameras} cameras on {options.shards} shards; {machine.described()}\n")
    print(table(metrics))
    result_file.write(options.json, metrics | {"moves": asdict(moves)}, rows=losses)


def figures(losses: Sequence[Loss], moves: Moves) -> dict[str, float]:
    """The metrics by name: silence for each fault, pauses and lost frames of the moves."""
    metrics: dict[str, float] = {}
    for fault in dict.fromkeys(loss.fault for loss in losses):
        silent_s = sorted(silence for loss in losses if loss.fault == fault for silence in loss.silent_s)
        metrics |= {
            f"{fault}_p50_s": round(statistics.median(silent_s), 2),
            f"{fault}_p95_s": round(_percentile(silent_s, 0.95), 2),
            f"{fault}_max_s": round(silent_s[-1], 2),
            f"{fault}_n": len(silent_s),
        }
    if moves.paused_s:
        paused_s = sorted(moves.paused_s)
        metrics |= {
            "move_pause_p50_ms": round(1e3 * statistics.median(paused_s)),
            "move_pause_p95_ms": round(1e3 * _percentile(paused_s, 0.95)),
            "move_frames_lost": moves.frames_lost,
            "moves": len(paused_s),
        }
    return metrics


async def measure(options: argparse.Namespace) -> tuple[list[Loss], Moves]:
    """Moves cameras, then loses one shard after the other, each once all cameras answer rightly."""
    losses = []
    async with _running(options) as (running, cluster):
        fleet = running.fleet
        await asyncio.sleep(options.watch_s)
        moves = await outages.move_cameras(fleet, options.moves)
        for fault in options.faults:
            for _ in range(options.repeats):
                names = [outages.camera(number).name for number in range(options.cameras)]
                await asyncio.gather(*(outages.until_right_s(fleet, name) for name in names))
                losses.append(await outages.lose_shard(fleet, cluster, fault))
                print(f"{fault}, shard {losses[-1].shard}: {losses[-1].silent_s} s", file=sys.stderr, flush=True)
                await outages.repair(fleet, cluster, fault)
    return losses, moves


async def measure_spare(options: argparse.Namespace) -> tuple[list[Loss], float]:
    """Kills the process of a shard while an empty one waits. -> the losses, and the resident MB of that empty one"""
    losses = []
    async with _running(options, spares=1) as (running, cluster):
        fleet = running.fleet
        await asyncio.sleep(options.watch_s)
        spare = min(await fleet.list_shards(), key=lambda shard: len(shard.cameras))
        assert spare.pid is not None
        assert not spare.cameras
        spare_mb = round(psutil.Process(spare.pid).memory_info().rss / 1e6)
        for _ in range(options.spare_repeats):
            names = [outages.camera(number).name for number in range(options.cameras)]
            await asyncio.gather(*(outages.until_right_s(fleet, name) for name in names))
            loss = await outages.lose_shard(fleet, cluster, "process_kill")
            losses.append(replace(loss, fault="spare_process_kill"))
            print(f"with a spare, shard {loss.shard}: {loss.silent_s} s", file=sys.stderr, flush=True)
            await outages.repair(fleet, cluster, "process_kill", spares=1)
    return losses, spare_mb


async def measure_checkpoints(intervals: int) -> dict[str, float]:
    """The work on exact checkpoints as a share of the ingest's, and the time of a restore over that of raw reads."""
    torch.set_num_threads(1)
    exact, _ = await checkpoints.measure_costs(registry.load_model("tiny"), 256, "1080p", intervals)
    restored = await restoring.measure(_RESTORES, RowFormat.EXACT)
    return {
        "checkpoint_share": round(exact.checkpoint_share, 4),
        "restore_over_raw_read": restored.restore_over_raw_read,
    }


@contextlib.asynccontextmanager
async def _running(options: argparse.Namespace, spares: int = 0) -> AsyncIterator[tuple[System, Nodes]]:
    with (
        tempfile.TemporaryDirectory(prefix="hermes-failover-") as folder,
        embedded_store.running(Path(folder)) as store_url,
        # One node more than shards, so that a shard whose node was lost can start elsewhere.
        nodes.running(options.shards + spares + 1) as cluster,
    ):
        settings = _settings(options, spares, store_url, cluster.address)
        async with system.running(settings, log_level=logging.ERROR) as running:
            yield running, cluster


def table(metrics: dict[str, float]) -> str:
    """The metrics as Markdown."""
    rows = (f"| {name} | {value} |" for name, value in metrics.items())
    return "\n".join(["| figure | value |", "|---|---:|", *rows])


def _settings(options: argparse.Namespace, spares: int, store_url: str, ray: str) -> HermesConfig:
    return HermesConfig(
        shards=ShardsConfig(
            count=options.shards + spares,
            spares=spares,
            ray=ray,
            checkpoint_every_s=5.0,
            device=DeviceConfig(max_cameras=options.cameras),
        ),
        store=store_url,
        router=RouterConfig(port=0),
        cameras=tuple(map(outages.camera, range(options.cameras))),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--repeats", type=int, default=3, help="of each fault")
    parser.add_argument("--spare-repeats", type=int, default=3, help="of a killed process while a spare waits")
    parser.add_argument("--moves", type=int, default=32, help="0 for none")
    parser.add_argument("--intervals", type=int, default=20, help="between checkpoints; 0 leaves their figures out")
    parser.add_argument("--watch-s", type=float, default=40.0, help="before the first move")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
