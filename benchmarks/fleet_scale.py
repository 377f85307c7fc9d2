"""Measures the control plane of a fleet of ten thousand cameras: python -m benchmarks.fleet_scale --help.

Leader, placement, leases and registry are real, over a real Valkey. The shards are simulated in this process: each
renews its lease and owns its cameras, and opens no stream. Some are killed at once, like shards in a rack that fails:
no machine reports their death, so their leases have to expire first. The one process that runs it all is the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
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
from actors.fleet.redis_registry import RedisRegistry
from actors.fleet.removal import MemoryEraser
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from actors.ownership.lease_holder import LeaseHolder
from actors.shard.interface import Assignment, ShardStatus
from benchmarks import machine, result_file
from cache_store.leases import UNOWNED, Leases, ShardIncarnation
from cache_store.redis_connection import RedisConnection
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from pipeline.answers import AnswerEvent, Done, FinishReason, Started, UnknownCamera
from pipeline.cameras import CameraSpec, CameraState, CameraStatus, TooManyCameras
from pipeline.sources.probe import ProbeResult

_LEASE = LeaseConfig()
_POLL_EVERY_S = 0.25


class SimulatedShard:
    """A Shard that owns its cameras in the store, and opens no stream."""

    def __init__(self, leases: Leases, slots: int) -> None:
        self._incarnation = ShardIncarnation(uuid.uuid4().hex)
        self._lease_holder = LeaseHolder(leases, self._incarnation, _LEASE, on_lost=self._on_lost)
        self._slots = slots
        self._is_dead = False
        self.specs: dict[str, CameraSpec] = {}
        self._renewals = asyncio.create_task(self._lease_holder.run())

    def kill(self) -> None:
        """Stops renewing the lease and answering."""
        self._is_dead = True
        self._renewals.cancel()

    async def ask(
        self, camera_id: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        self._require_alive()
        owner = self._lease_holder.owner(camera_id)
        if owner is None:
            raise UnknownCamera(camera_id)
        self._lease_holder.require(camera_id, owner)
        yield Started("1", camera_id, time.time(), epoch=owner.epoch)
        yield Done(FinishReason.END, "", 1, 0, 0.0)

    async def add_camera(self, assignment: Assignment) -> None:
        self._require_alive()
        camera_id = assignment.id
        if camera_id in self.specs:
            await self._lease_holder.raise_epoch(camera_id, assignment.min_epoch)
            return
        if len(self.specs) >= self._slots:
            raise TooManyCameras(f"camera {assignment.spec.name!r}: all {self._slots} slots are taken")
        await self._lease_holder.acquire(camera_id, min_epoch=assignment.min_epoch, expiry=assignment.expiry)
        self.specs[camera_id] = assignment.spec

    async def update_camera(self, assignment: Assignment) -> None:
        self.specs[assignment.id] = assignment.spec

    async def remove_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        self._require_alive()
        if self.specs.pop(camera_id, None) is None:
            raise UnknownCamera(camera_id)
        await self._lease_holder.release(camera_id, successor=successor)

    async def drop_camera(self, camera_id: str) -> None:
        self._require_alive()
        self.specs.pop(camera_id, None)
        await self._lease_holder.release(camera_id)

    async def erase_memory(self, camera_id: str) -> None:
        """There is no memory."""

    async def status(self) -> ShardStatus:
        self._require_alive()
        return ShardStatus(
            pid=os.getpid(),
            incarnation=self._incarnation.id,
            cameras=tuple(itertools.starmap(self._status, self.specs.items())),
            slots=self._slots,
        )

    async def drain(self) -> None:
        """Never called here."""

    async def undrain(self) -> None:
        """Never called here."""

    async def test_camera(self, url: str) -> ProbeResult:
        raise ShardUnavailable("a simulated shard opens no URL")

    def _status(self, camera_id: str, spec: CameraSpec) -> CameraStatus:
        owner = self._lease_holder.owner(camera_id)
        epoch = owner.epoch if owner else 0
        return CameraStatus(id=camera_id, name=spec.name, url=spec.url, state=CameraState.LIVE, epoch=epoch)

    def _require_alive(self) -> None:
        if self._is_dead:
            raise ShardUnavailable("its process has ended")

    async def _on_lost(self, camera: str) -> None:
        self.specs.pop(camera, None)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The load per second: operations and received bytes of the store, and this process's share of a core."""

    redis_ops_per_s: float
    redis_in_bytes_per_s: float
    process_share: float


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    options = _options()
    logs.log_to_stderr(logging.CRITICAL)
    metrics = asyncio.run(measure(options.cameras, options.shards, options.kills, options.rest_s))
    print(
        f"{options.cameras} cameras on {options.shards} shards, {options.kills} killed at once; {machine.described()}\n"
    )
    print(
        "\n".join(["| figure | value |", "|---|---:|", *(f"| {name} | {value:g} |" for name, value in metrics.items())])
    )
    result_file.write(options.json, {"cameras": options.cameras, "shards": options.shards} | metrics)


async def measure(num_cameras: int, num_shards: int, num_kills: int, rest_s: float) -> dict[str, float]:
    """Times the assignment of all cameras, the traffic at rest, and the failover after the loss of some shards."""
    with (
        tempfile.TemporaryDirectory(prefix="hermes-scale-") as folder,
        embedded_store.running(Path(folder)) as store_url,
    ):
        leases, registry = RedisLeases(store_url), RedisRegistry(store_url)
        failure_detector = FailureDetector(leases, _LEASE.length_s)
        await failure_detector.expiry(UNOWNED)
        await asyncio.sleep(_LEASE.length_s)
        # Enough slots for all cameras after the loss.
        slots = -(-num_cameras // (num_shards - num_kills)) + 1
        shards = [SimulatedShard(leases, slots) for _ in range(num_shards)]
        election = LeaderElection(leases, failure_detector, _LEASE)
        await election.campaign()
        checkpoints = RedisCheckpointStore(store_url)
        eraser = MemoryEraser(leases.fence, checkpoints.delete)
        fleet = Fleet(shards, failure_detector, registry, eraser, is_leader=election.is_leader)
        for number in range(num_cameras):
            fleet.add_configured_camera(CameraSpec(name=f"camera{number}", url="sim:street"))
        began_s = time.monotonic()
        loops = [asyncio.create_task(fleet.run()), asyncio.create_task(election.run())]
        assigned_s = await _until_all_owned(shards, num_cameras, began_s)
        await asyncio.sleep(_LEASE.length_s)
        rest = await _traffic(store_url, rest_s)
        for shard in random.Random(1).sample(shards, num_kills):
            shard.kill()
            shard.specs = {}
        failover_s = await _until_all_owned(shards, num_cameras, time.monotonic())
        await task_cancellation.end(*loops)
        await leases.close()
        await registry.close()
        await checkpoints.close()
    return {
        "placed_s": round(assigned_s, 2),
        "redis_ops_per_s": round(rest.redis_ops_per_s),
        "renewal_bytes_per_s": round(rest.redis_in_bytes_per_s),
        "process_share_at_rest": round(rest.process_share, 2),
        "whole_again_s": round(failover_s, 2),
    }


async def _until_all_owned(shards: list[SimulatedShard], num_cameras: int, began_s: float) -> float:
    """Waits until every camera is on a shard. -> how long that took, in seconds"""
    while sum(len(shard.specs) for shard in shards) < num_cameras:  # noqa: ASYNC110 - the shards have no event
        await asyncio.sleep(_POLL_EVERY_S)
    return time.monotonic() - began_s


async def _traffic(store_url: str, over_s: float) -> Traffic:
    connection = RedisConnection(store_url, timeout_s=5.0, retries=1)

    async def counters() -> tuple[int, int, float, float]:
        stats = await connection.client.info("stats")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return (
            stats["total_commands_processed"],
            stats["total_net_input_bytes"],
            usage.ru_utime + usage.ru_stime,
            time.monotonic(),
        )

    before = await counters()
    await asyncio.sleep(over_s)
    after = await counters()
    await connection.close()
    ops, nbytes, cpu_s, passed_s = (later - earlier for earlier, later in zip(before, after, strict=True))
    return Traffic(ops / passed_s, nbytes / passed_s, cpu_s / passed_s)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rest-s", type=float, default=20.0, help="how long the traffic at rest is measured")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
