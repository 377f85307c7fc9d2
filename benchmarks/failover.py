"""How long a camera is silent when something fails or moves: python -m benchmarks.failover --help.

A whole system over a Ray cluster of several nodes on this machine: embedded store, shards, fleet. First cameras are
moved: how long questions wait, and how many sampled frames nobody saw. Then a shard's process is killed, or its node,
or its node is stopped; every camera that it held is asked again and again, through the fleet, what came first, until
the answer is right. The first visitor is long out of view by then, so a right answer needs the memory of before. Last,
what checkpoints cost and how fast they come back, the two figures of `benchmarks.checkpoints` that are promised.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from structlog.testing import capture_logs

from actors import embedded_store, logs, system
from actors.config.schema import HermesConfig, RouterConfig, ShardsConfig
from actors.errors import ServiceError
from actors.fleet.fleet import Fleet
from actors.system import System
from benchmarks import checkpoints, machine, nodes, restoring, result_file
from benchmarks.nodes import Nodes
from cache_store.checkpoint import Rows, StoreError
from models import registry
from models.tiny.scenes import questions
from models.tiny.scenes.scene import Scene
from pipeline.answers import Done, QuestionError
from pipeline.cameras import CameraSpec
from pipeline.device.device_config import DeviceConfig

_QUESTION = "what came first"
_GAP_S = 6
_SAMPLE_FPS = 2.0
_LONGEST_SILENCE_S = 90.0
_ASK_EVERY_S = 0.05
_HANGS_S = 20.0
_RESTORES = 25

Fault = Callable[[Nodes, int], None]

FAULTS: dict[str, Fault] = {
    "process_kill": lambda _, pid: os.kill(pid, signal.SIGKILL),
    "node_kill": Nodes.kill,
    "node_hang": Nodes.hang,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """One shard lost: how long each of its cameras did not answer rightly, in seconds."""

    fault: str
    shard: int
    silent_s: list[float]


@dataclass(frozen=True, slots=True)
class Moves:
    """Cameras moved: how long questions had to wait, each time, and how many sampled frames nobody saw in all."""

    paused_s: list[float]
    frames_lost: int


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    options = _options()
    # What a move tells is what is measured of it.
    logs.log_to_stderr(logging.INFO)
    losses, moves = asyncio.run(measure(options)) if options.faults or options.moves else ([], Moves([], 0))
    found = figures(losses, moves)
    if options.intervals:
        found |= asyncio.run(measure_checkpoints(options.intervals))
    print(f"{options.cameras} cameras on {options.shards} shards; {machine.described()}\n")
    print(table(found))
    result_file.write(options.json, found | {"moves": asdict(moves)}, rows=losses)


def figures(losses: Sequence[Loss], moves: Moves) -> dict[str, float]:
    """What counts of it, by name."""
    found: dict[str, float] = {}
    for fault in dict.fromkeys(loss.fault for loss in losses):
        silent = sorted(silence for loss in losses if loss.fault == fault for silence in loss.silent_s)
        found |= {
            f"{fault}_p50_s": round(statistics.median(silent), 2),
            f"{fault}_p95_s": round(_share(silent, 0.95), 2),
            f"{fault}_max_s": round(silent[-1], 2),
            f"{fault}_n": len(silent),
        }
    if moves.paused_s:
        paused = sorted(moves.paused_s)
        found |= {
            "move_pause_p50_ms": round(1e3 * statistics.median(paused)),
            "move_pause_p95_ms": round(1e3 * _share(paused, 0.95)),
            "move_frames_lost": moves.frames_lost,
            "moves": len(paused),
        }
    return found


async def measure(options: argparse.Namespace) -> tuple[list[Loss], Moves]:
    """Loses one shard after the other, each once all cameras know what they shall be asked; then moves cameras."""
    losses = []
    async with _running(options) as (running, cluster):
        await asyncio.sleep(options.watch_s)
        moves = await _move(running.fleet, options.moves)
        for fault in options.faults:
            for _ in range(options.repeats):
                await asyncio.gather(*(_right_after_s(running.fleet, _name(n)) for n in range(options.cameras)))
                losses.append(await _lose(running.fleet, cluster, fault))
                print(f"{fault}, shard {losses[-1].shard}: {losses[-1].silent_s} s", file=sys.stderr, flush=True)
                await _mend(running.fleet, cluster, fault)
    return losses, moves


async def measure_checkpoints(intervals: int) -> dict[str, float]:
    """Work on exact checkpoints against that of the ingest, and restoring against raw reads."""
    torch.set_num_threads(1)
    exact, _ = await checkpoints.measure_costs(registry.load_model("tiny"), 256, "1080p", intervals)
    restored = await restoring.measure(_RESTORES, Rows.EXACT)
    return {
        "checkpoint_share": round(exact.checkpoint_share, 4),
        "restore_over_raw_read": restored.restore_over_raw_read,
    }


@contextlib.asynccontextmanager
async def _running(options: argparse.Namespace) -> AsyncIterator[tuple[System, Nodes]]:
    with (
        tempfile.TemporaryDirectory(prefix="hermes-failover-") as folder,
        embedded_store.running(Path(folder)) as store_url,
        # One more than there are shards, so that a shard whose node was lost can start elsewhere.
        nodes.running(options.shards + 1) as cluster,
    ):
        settings = _settings(options.cameras, options.shards, store_url, cluster.address)
        async with system.running(settings, log_level=logging.ERROR) as running:
            yield running, cluster


async def _lose(held: Fleet, cluster: Nodes, fault: str) -> Loss:
    """The shard that holds the most cameras."""
    fullest = max(await held.list_shards(), key=lambda one: len(one.cameras))
    FAULTS[fault](cluster, (await held.shard_status(fullest.cameras[0])).pid)
    silent = await asyncio.gather(*(_right_after_s(held, name) for name in fullest.cameras))
    return Loss(fault, fullest.index, [round(silence, 2) for silence in silent])


async def _mend(held: Fleet, cluster: Nodes, fault: str) -> None:
    """Until all shards are up and hold about the same again."""
    if fault == "node_hang":
        await asyncio.sleep(_HANGS_S)
        cluster.wake()
    if fault != "process_kill":
        cluster.add()
    async with asyncio.timeout(180.0):
        while True:
            shards = await held.list_shards()
            counts = [len(one.cameras) for one in shards]
            if all(one.is_up for one in shards) and max(counts) - min(counts) < 2:
                return
            await asyncio.sleep(1.0)


async def _move(held: Fleet, count: int) -> Moves:
    """Cameras in turn, each to another shard."""
    names = sorted(placed.status.name for placed in await held.list_cameras())
    before = await _seen(held)
    with capture_logs() as told:
        for number in range(count):
            await held.move_camera(names[number % len(names)])
            await asyncio.sleep(0.5)
    await asyncio.sleep(5.0)
    after = await _seen(held)
    lost = sum(
        round((after[name].newest_s - before[name].newest_s) * _SAMPLE_FPS) - (after[name].frames - before[name].frames)
        for name in names
    )
    return Moves([event["paused_s"] for event in told if "paused_s" in event], lost)


@dataclass(frozen=True, slots=True)
class _Seen:
    frames: int
    newest_s: float


async def _seen(held: Fleet) -> dict[str, _Seen]:
    return {
        placed.status.name: _Seen(placed.status.memory.frames_seen, placed.status.memory.newest_s or 0.0)
        for placed in await held.list_cameras()
    }


async def _right_after_s(held: Fleet, name: str) -> float:
    """Asks until the answer is right, and says how long that took."""
    began_s = time.monotonic()
    street = Scene(_seed(name), mean_gap_s=_GAP_S)
    while time.monotonic() - began_s < _LONGEST_SILENCE_S:
        now_s = time.time() - held.started_s(name)
        if await _answer(held, name) == questions.answer_at(_QUESTION, street.visits(now_s), now_s):
            return time.monotonic() - began_s
        await asyncio.sleep(_ASK_EVERY_S)
    return _LONGEST_SILENCE_S


async def _answer(held: Fleet, name: str) -> str | None:
    try:
        async for event in held.ask(name, _QUESTION):
            if isinstance(event, Done):
                return event.answer
    except (ServiceError, QuestionError, StoreError):
        pass
    return None


def table(found: dict[str, float]) -> str:
    """The figures as Markdown."""
    return "\n".join(["| figure | value |", "|---|---:|", *(f"| {name} | {value} |" for name, value in found.items())])


def _settings(num_cameras: int, num_shards: int, store_url: str, ray: str) -> HermesConfig:
    return HermesConfig(
        shards=ShardsConfig(
            count=num_shards, ray=ray, checkpoint_every_s=5.0, device=DeviceConfig(max_cameras=num_cameras)
        ),
        store=store_url,
        router=RouterConfig(port=0),
        cameras=tuple(
            CameraSpec(name=_name(number), url=f"sim:street?seed={_seed(_name(number))}&gap={_GAP_S}")
            for number in range(num_cameras)
        ),
    )


def _name(number: int) -> str:
    return f"camera{number}"


def _seed(name: str) -> int:
    return 7_000 + int(name.removeprefix("camera"))


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--repeats", type=int, default=3, help="of each fault")
    parser.add_argument("--moves", type=int, default=32, help="0 for none")
    parser.add_argument("--intervals", type=int, default=20, help="between checkpoints; 0 leaves their figures out")
    parser.add_argument("--watch-s", type=float, default=40.0, help="before the first of it")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
