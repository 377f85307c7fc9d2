"""How long a camera is silent when its shard's process is killed: python -m benchmarks.failover --help.

A whole system on this machine: embedded store, Ray, shards, fleet. A shard is killed by SIGKILL; every camera that it
held is asked again and again, through the fleet, what came first, until the answer is right. The first visitor is long
out of view by then, so a right answer needs the memory of before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from actors import config, fleet, logs, system
from actors.errors import ServiceError
from cache_store import checkpoint
from models.tiny import questions, scene
from pipeline import answers, cameras, device

_QUESTION = "what came first"
_GAP_S = 6
_LONGEST_SILENCE_S = 60.0
_ASK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Kill:
    """One shard killed: how long each of its cameras did not answer rightly, in seconds."""

    shard: int
    silent_s: list[float]


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    options = _options()
    logs.log_to_stderr(logging.ERROR)
    kills = asyncio.run(measure(options.cameras, options.shards, options.kills, options.watch_s))
    silent = sorted(silence for kill in kills for silence in kill.silent_s)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    found = {
        "process_kill_p50_s": round(statistics.median(silent), 2),
        "process_kill_p95_s": round(_share(silent, 0.95), 2),
        "process_kill_max_s": round(silent[-1], 2),
        "kills": len(kills),
        "n": len(silent),
    }
    print(f"{options.cameras} cameras on {options.shards} shards; {machine}\n")
    print(table(found))
    if options.json:
        facts = {"machine": machine, **found, "rows": [asdict(kill) for kill in kills]}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


async def measure(num_cameras: int, num_shards: int, num_kills: int, watch_s: float) -> list[Kill]:
    """Kills one shard after the other, each once all cameras know what they shall be asked."""
    with tempfile.TemporaryDirectory(prefix="hermes-failover-") as folder:
        async with system.running(_settings(num_cameras, num_shards, folder)) as running:
            await asyncio.sleep(watch_s)
            kills = []
            for _ in range(num_kills):
                await asyncio.gather(*(_right_after_s(running.fleet, _name(n)) for n in range(num_cameras)))
                kills.append(await _kill(running.fleet))
                print(f"shard {kills[-1].shard}: {kills[-1].silent_s} s", file=sys.stderr, flush=True)
                await asyncio.sleep(15.0)
            return kills


async def _kill(held: fleet.Fleet) -> Kill:
    """Of the shard that holds the most cameras."""
    fullest = max(await held.list_shards(), key=lambda one: len(one.cameras))
    os.kill((await held.shard_status(fullest.cameras[0])).pid, signal.SIGKILL)
    silent = await asyncio.gather(*(_right_after_s(held, name) for name in fullest.cameras))
    return Kill(fullest.index, [round(silence, 2) for silence in silent])


async def _right_after_s(held: fleet.Fleet, name: str) -> float:
    """Asks until the answer is right, and says how long that took."""
    began_s = time.monotonic()
    street = scene.Scene(_seed(name), mean_gap_s=_GAP_S)
    while time.monotonic() - began_s < _LONGEST_SILENCE_S:
        now_s = time.time() - held.started_s(name)
        if await _answer(held, name) == questions.answer_at(_QUESTION, street.visits(now_s), now_s):
            return time.monotonic() - began_s
        await asyncio.sleep(_ASK_EVERY_S)
    return _LONGEST_SILENCE_S


async def _answer(held: fleet.Fleet, name: str) -> str | None:
    try:
        async for event in held.ask(name, _QUESTION):
            if isinstance(event, answers.Done):
                return event.answer
    except (ServiceError, answers.QuestionError, checkpoint.StoreError):
        pass
    return None


def table(found: dict[str, float]) -> str:
    """The figures as Markdown."""
    return "\n".join(["| figure | value |", "|---|---:|", *(f"| {name} | {value} |" for name, value in found.items())])


def _settings(num_cameras: int, num_shards: int, folder: str) -> config.HermesConfig:
    return config.HermesConfig(
        shards=config.ShardsConfig(
            count=num_shards, checkpoint_every_s=5.0, device=device.DeviceConfig(max_cameras=num_cameras)
        ),
        store=f"embedded:{folder}",
        router=config.RouterConfig(port=0),
        cameras=tuple(
            cameras.CameraSpec(name=_name(number), url=f"sim:street?seed={_seed(_name(number))}&gap={_GAP_S}")
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
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--watch-s", type=float, default=40.0, help="before the first kill")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
