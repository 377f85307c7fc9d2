"""Measures what a change of the shards costs while every camera is asked: python -m benchmarks.scaling --help.

A whole system runs on a Ray cluster of several nodes on this machine, with a fake GPU each: embedded store, shards,
fleet, simulated cameras. In turn: a camera without a slot brings a shard; the process of a shard with all other cameras
gets SIGTERM; the shards go from 1 to 4 and back to 1; a server of a newer build replaces every shard. All cameras are
asked meanwhile, and the frames that each memory has are compared with those that were due.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from actors import embedded_store, logs, system
from actors.config import loading
from actors.fleet.fleet import Fleet
from benchmarks import frames_due, machine, nodes, outages, result_file, shard_changes
from benchmarks.questioning import Questioning
from cache_store.gap import GapReason
from console.cli import terminal

_SHARDS = 4
_CALM_S = 10.0
_NEWER_LOG = "newer.log"
_CONFIG = """
store: {store}
router: {{port: 0}}
shards:
  ray: {ray}
  settings_version: {version}
  min: 1
  max: {shards}
  num_gpus: 1
  checkpoint_every_s: 5
  device: {{max_cameras: {cameras}}}
"""


@dataclass(frozen=True, slots=True)
class Phase:
    """One change of the shards, and what became of questions and frames meanwhile.

    figure_s: what the change is about; took_s: with what had to settle before and after it. longest_wait_ms: the
    longest time that one camera gave no first word. frames_missing: in no memory and in no declared gap. gap_s: seconds
    in declared gaps of all cameras together, by reason.
    """

    name: str
    figure_s: float
    took_s: float
    answered: int
    refused: int
    lost: int
    longest_wait_ms: int
    frames_missing: int
    gap_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """The phases, how many cameras are not live in the end, and how long each move of the upgrade paused its camera."""

    phases: list[Phase]
    cameras_lost: int
    upgrade_moves_s: list[float]


class Course:
    """The phases that are over, in a running system whose cameras are asked all the time."""

    def __init__(self, fleet: Fleet, questioning: Questioning, names: Sequence[str]) -> None:
        self._fleet, self._questioning, self._names = fleet, questioning, names
        self.phases: list[Phase] = []

    async def run(self, name: str, change: Awaitable[float]) -> None:
        """Carries out a change and records what it cost."""
        self._questioning.take()
        before, began_s = await frames_due.memories_of(self._fleet, self._names), time.monotonic()
        figure_s = await change
        took_s, answers = time.monotonic() - began_s, self._questioning.take()
        due = frames_due.between(before, await frames_due.memories_of(self._fleet, self._names))
        self.phases.append(
            Phase(
                name,
                round(figure_s, 2),
                round(took_s, 1),
                answers.answered,
                answers.refused,
                answers.lost,
                round(1e3 * answers.longest_wait_s),
                due.missing,
                due.gap_s,
            )
        )
        print(self.phases[-1], file=sys.stderr, flush=True)


def main() -> None:
    """Measures, prints Markdown tables, and writes JSON if asked."""
    options = _options()
    terminal.end_on_sigterm()
    # Warnings only: a line for each camera that moves would hide the table.
    logs.log_to_stderr(logging.WARNING)
    began_s = time.monotonic()
    measured = asyncio.run(measure(options.cameras, options.limit_s))
    phases, metrics = measured.phases, figures(measured)
    suffix = f"; load {os.getloadavg()[0]:.1f} at the end; {time.monotonic() - began_s:.0f} s in all"
    print(f"{options.cameras} cameras; {machine.described()}{suffix}\n")
    print(_table(("figure", "value"), metrics.items()))
    print(_table(asdict(phases[0]), (asdict(phase).values() for phase in phases)))
    result_file.write(options.json, metrics, rows=phases, machine_suffix=suffix)


def figures(measured: Measured) -> dict[str, float]:
    """The metrics by name. dropped_s: of gap_s, because devices had too little time for all frames."""
    phases = measured.phases
    of = {phase.name: phase for phase in phases}
    return {
        "scale_up_first_answer_s": of["camera without a slot"].figure_s,
        "sigterm_moved_s": of["SIGTERM"].figure_s,
        "upgrade_longest_pause_ms": of["upgrade"].longest_wait_ms,
        "upgrade_longest_move_ms": round(1e3 * max(measured.upgrade_moves_s)),
        "upgrade_s": of["upgrade"].figure_s,
        "calm_longest_pause_ms": of["calm"].longest_wait_ms,
        "questions_answered": sum(phase.answered for phase in phases),
        "questions_refused": sum(phase.refused for phase in phases),
        "questions_lost": sum(phase.lost for phase in phases),
        "frames_missing": sum(phase.frames_missing for phase in phases),
        "gap_s": round(sum(sum(phase.gap_s.values()) for phase in phases), 1),
        "dropped_s": round(sum(phase.gap_s.get(GapReason.DROPPED, 0.0) for phase in phases), 1),
        "cameras_lost": measured.cameras_lost,
    }


async def measure(num_cameras: int, limit_s: float) -> Measured:
    """Exits if the phases are not over in time."""
    names = [outages.camera(number).name for number in range(num_cameras)]
    with tempfile.TemporaryDirectory(prefix="hermes-scaling-") as name:
        folder = Path(name)
        async with _running(folder, num_cameras) as fleet:
            questioning = Questioning(fleet)
            course = Course(fleet, questioning, names)
            try:
                async with asyncio.timeout(limit_s):
                    await asyncio.gather(*(fleet.add_camera(outages.camera(number)) for number in range(num_cameras)))
                    await shard_changes.until_watched(fleet)
                    async with questioning.running(names):
                        await _change_shards(course, fleet, questioning, folder)
            except TimeoutError:
                over = [phase.name for phase in course.phases]
                sys.exit(f"not over after {limit_s:g} s, but {over}: {await fleet.list_shards()}")
            live = {view.spec.name for view in await fleet.list_cameras() if shard_changes.is_live(view)}
            moves_s = shard_changes.move_pauses_s(folder / _NEWER_LOG)
            return Measured(course.phases, len(set(names) - live), moves_s)


async def _change_shards(course: Course, fleet: Fleet, questioning: Questioning, folder: Path) -> None:
    await course.run("calm", asyncio.sleep(_CALM_S, _CALM_S))
    num_cameras = len(await fleet.list_cameras())
    await course.run("camera without a slot", shard_changes.add_beyond_room(fleet, questioning, num_cameras))
    await course.run("SIGTERM", shard_changes.terminate(fleet))
    await course.run("1 to 4 to 1", shard_changes.scale(fleet, 1, _SHARDS, 1))
    await course.run("upgrade", shard_changes.upgrade(fleet, folder / "newer.yaml", folder / _NEWER_LOG))


@asynccontextmanager
async def _running(folder: Path, num_cameras: int) -> AsyncIterator[Fleet]:
    """A fleet of one shard that has as many slots as there are cameras; the nodes have room for three more."""
    with embedded_store.running(folder / "store") as store, nodes.running(_SHARDS, gpus=1) as cluster:
        for version, name in enumerate(("older.yaml", "newer.yaml"), start=1):
            text = _CONFIG.format(
                store=store, ray=cluster.address, version=version, shards=_SHARDS, cameras=num_cameras
            )
            (folder / name).write_text(text)
        settings = loading.load_config(folder / "older.yaml")
        async with system.running(settings, log_level=logging.ERROR) as running:
            yield running.fleet


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The rows as Markdown."""
    lines = [list(head), ["---"] * len(list(head)), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--limit-s", type=float, default=300.0, help="for all phases together")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
