"""How a fleet of ten thousand cameras fares without its devices: python -m benchmarks.fleet_scale --help.

The real supervisor, placement, leases and registry over a real Valkey; shards are simulated in this process: each
renews its lease and owns its cameras for real, and watches nothing. Some are killed at once, as by the loss of their
racks: no machine says that they died, so their leases must stand still first. One process drives it all, which is what
bounds it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import resource
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from actors import embedded_store, logs, task_cancellation
from actors.config.schema import LeaseConfig
from actors.errors import ShardUnavailable
from actors.fleet.fleet import Fleet
from actors.fleet.registry import RedisRegistry
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.interface import Assignment, ShardStatus
from benchmarks import machine, result_file
from cache_store.leases import UNOWNED, Leases, ShardIncarnation
from cache_store.redis_connection import RedisConnection
from cache_store.redis_leases import RedisLeases
from pipeline.answers import AnswerEvent, Done, FinishReason, Started, UnknownCamera
from pipeline.cameras import CameraSpec, CameraState, CameraStatus, TooManyCameras
from pipeline.sources.probe import ProbeResult

_LEASE = LeaseConfig()
_LOOK_EVERY_S = 0.25


class SimulatedShard:
    """A Shard whose cameras are owned for real and watched by nobody."""

    def __init__(self, leases: Leases, slots: int) -> None:
        self._incarnation = ShardIncarnation(uuid.uuid4().hex)
        self._tenure = LeaseHolder(leases, self._incarnation, _LEASE, on_lost=self._lose)
        self._slots = slots
        self._is_dead = False
        self.watched: dict[str, CameraSpec] = {}
        self._renewing = asyncio.create_task(self._tenure.run())

    def kill(self) -> None:
        """It renews no more and answers no more."""
        self._is_dead = True
        self._renewing.cancel()

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        self._require_alive()
        owner = self._tenure.owner(camera)
        if owner is None:
            raise UnknownCamera(camera)
        self._tenure.require(camera, owner)
        yield Started("1", camera, time.time(), epoch=owner.epoch)
        yield Done(FinishReason.END, "", 1, 0, 0.0)

    async def add_camera(self, assignment: Assignment) -> None:
        self._require_alive()
        name = assignment.spec.name
        if name in self.watched:
            await self._tenure.raise_epoch(name, assignment.min_epoch)
            return
        if len(self.watched) >= self._slots:
            raise TooManyCameras(f"camera {name!r}: all {self._slots} slots are taken")
        await self._tenure.acquire(name, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        self.watched[name] = assignment.spec

    async def remove_camera(self, name: str, *, is_forgotten: bool, successor: str | None = None) -> None:
        self._require_alive()
        if self.watched.pop(name, None) is None:
            raise UnknownCamera(name)
        await self._tenure.release(name, successor=successor)

    async def status(self) -> ShardStatus:
        self._require_alive()
        return ShardStatus(
            pid=os.getpid(),
            incarnation=self._incarnation.id,
            cameras=tuple(map(self._status, self.watched.values())),
            slots=self._slots,
        )

    async def drain(self) -> None:
        """Nobody asks for it here."""

    async def test_camera(self, url: str) -> ProbeResult:
        raise ShardUnavailable("nothing is opened here")

    def _status(self, spec: CameraSpec) -> CameraStatus:
        owner = self._tenure.owner(spec.name)
        epoch = owner.epoch if owner else 0
        return CameraStatus(name=spec.name, url=spec.url, state=CameraState.LIVE, epoch=epoch)

    def _require_alive(self) -> None:
        if self._is_dead:
            raise ShardUnavailable("its process is gone")

    async def _lose(self, camera: str) -> None:
        self.watched.pop(camera, None)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a second costs: operations and bytes in of the store, and of this process the share of a core."""

    redis_ops_per_s: float
    redis_in_bytes_per_s: float
    process_share: float


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    options = _options()
    logs.log_to_stderr(logging.CRITICAL)
    found = asyncio.run(measure(options.cameras, options.shards, options.kills, options.rest_s))
    print(
        f"{options.cameras} cameras on {options.shards} shards, {options.kills} killed at once; {machine.described()}\n"
    )
    print(
        "\n".join(["| figure | value |", "|---|---:|", *(f"| {name} | {value:g} |" for name, value in found.items())])
    )
    result_file.write(options.json, {"cameras": options.cameras, "shards": options.shards} | found)


async def measure(num_cameras: int, num_shards: int, num_kills: int, rest_s: float) -> dict[str, float]:
    """Placement of all cameras, traffic at rest, the loss of some shards, and traffic after it."""
    with (
        tempfile.TemporaryDirectory(prefix="hermes-scale-") as folder,
        embedded_store.running(Path(folder)) as store_url,
    ):
        leases, known = RedisLeases(store_url), RedisRegistry(store_url)
        owners = FailureDetector(leases, _LEASE.length_s)
        await owners.expiry(UNOWNED)
        await asyncio.sleep(_LEASE.length_s)
        # As many slots as leave room for the loss.
        slots = -(-num_cameras // (num_shards - num_kills)) + 1
        shards = [SimulatedShard(leases, slots) for _ in range(num_shards)]
        bid = LeaderElection(leases, owners, _LEASE)
        await bid.campaign()
        held = Fleet(shards, owners, known, is_leader=bid.is_leader)
        for number in range(num_cameras):
            held.add_configured_camera(CameraSpec(name=f"camera{number}", url="sim:street"))
        began_s = time.monotonic()
        loops = [asyncio.create_task(held.run()), asyncio.create_task(bid.run())]
        placed_s = await _until_whole(shards, num_cameras, began_s)
        await asyncio.sleep(_LEASE.length_s)
        rest = await _traffic(store_url, rest_s)
        for killed in random.Random(1).sample(shards, num_kills):
            killed.kill()
            killed.watched = {}
        whole_s = await _until_whole(shards, num_cameras, time.monotonic())
        await task_cancellation.end(*loops)
        await leases.close()
        await known.close()
    return {
        "placed_s": round(placed_s, 2),
        "redis_ops_per_s": round(rest.redis_ops_per_s),
        "renewal_bytes_per_s": round(rest.redis_in_bytes_per_s),
        "process_share_at_rest": round(rest.process_share, 2),
        "whole_again_s": round(whole_s, 2),
    }


async def _until_whole(shards: list[SimulatedShard], num_cameras: int, began_s: float) -> float:
    """How long until every camera is on one shard."""
    while sum(len(one.watched) for one in shards) < num_cameras:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(_LOOK_EVERY_S)
    return time.monotonic() - began_s


async def _traffic(store_url: str, over_s: float) -> Traffic:
    connection = RedisConnection(store_url, timeout_s=5.0, retries=1)

    async def counted() -> tuple[int, int, float, float]:
        stats = await connection.client.info("stats")
        used = resource.getrusage(resource.RUSAGE_SELF)
        return (
            stats["total_commands_processed"],
            stats["total_net_input_bytes"],
            used.ru_utime + used.ru_stime,
            time.monotonic(),
        )

    before = await counted()
    await asyncio.sleep(over_s)
    after = await counted()
    await connection.close()
    ops, nbytes, cpu_s, passed_s = (later - earlier for earlier, later in zip(before, after, strict=True))
    return Traffic(ops / passed_s, nbytes / passed_s, cpu_s / passed_s)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rest-s", type=float, default=20.0, help="of which the traffic at rest is measured")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
