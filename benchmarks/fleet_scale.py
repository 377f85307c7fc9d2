"""Measures the control plane of a fleet of ten thousand cameras: python -m benchmarks.fleet_scale --help.

Leader, placement, leases and registry are real, over a real Valkey. The shards are simulated in this process: each
renews its lease and owns its cameras, and opens no stream. Some are killed at once, like shards in a rack that fails:
no machine reports their death, so their leases have to expire first. The one process that runs it all is the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import logging
import random
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from actors import embedded_store, logs, task_cancellation
from actors.fleet.fleet import Fleet
from actors.fleet.redis_registry import RedisRegistry
from actors.fleet.registry import RegistryChanges
from actors.fleet.removal import MemoryEraser
from actors.fleet.scaler import FleetSize
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from benchmarks import machine, result_file
from benchmarks.owning_shard import LEASE, OwningShard
from cache_store.leases import UNOWNED
from cache_store.redis_connection import IDLE_S, RedisConnection
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from console.cli import terminal
from pipeline.cameras import CameraSpec

_POLL_EVERY_S = 0.25
_CHANGES = 20
_LOOK_EVERY_S = 0.01


class Turns:
    """How late the event loop comes to what is due: as late as its turn before that is long."""

    def __init__(self) -> None:
        self._longest_s = 0.0

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            began_s = time.monotonic()
            await asyncio.sleep(_LOOK_EVERY_S)
            self._longest_s = max(self._longest_s, time.monotonic() - began_s - _LOOK_EVERY_S)

    def take_longest_s(self) -> float:
        """The longest turn since the last call."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s


@dataclass(frozen=True, slots=True)
class Traffic:
    """The load per second: operations and received bytes of the store, and this process's share of a core."""

    redis_ops_per_s: float
    redis_in_bytes_per_s: float
    process_share: float


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    options = _options()
    terminal.end_on_sigterm()
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
        failure_detector = FailureDetector(leases, LEASE.length_s)
        await failure_detector.expiry(UNOWNED)
        await asyncio.sleep(LEASE.length_s)
        # Enough slots for all cameras after the loss.
        slots = -(-num_cameras // (num_shards - num_kills)) + 1
        clients = [RedisLeases(store_url) for _ in range(num_shards)]  # a shard is a process, with a client of its own
        shards = [OwningShard(client, slots) for client in clients]
        election = LeaderElection(leases, failure_detector, LEASE)
        await election.campaign()
        checkpoints = RedisCheckpointStore(store_url)
        eraser = MemoryEraser(leases.fence, checkpoints.delete)
        fleet = Fleet(FleetSize.fixed(shards), failure_detector, registry, eraser, is_leader=election.is_leader)
        fleet.configure(map(_spec, range(num_cameras)))
        gc.freeze()  # as `hermes serve` does, here and once all cameras are placed
        turns = Turns()
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        loops = [asyncio.create_task(loop) for loop in (fleet.run(), election.run(), turns.run())]
        assigned_s = await _until_all_owned(shards, num_cameras, began_s)
        assigned_cpu_s, placing_turn_s = time.process_time() - began_cpu_s, turns.take_longest_s()
        gc.freeze()
        await asyncio.sleep(LEASE.length_s)
        rest, rest_turn_s = await _traffic(store_url, rest_s), turns.take_longest_s()
        other = Fleet(FleetSize.fixed(shards), failure_detector, registry, eraser, is_leader=lambda: False)
        changes = await _changes(fleet, other, registry, num_cameras)
        connections = await _idle_connections(store_url)
        for shard in random.Random(1).sample(shards, num_kills):
            shard.kill()
            shard.assignments = {}
        failover_s = await _until_all_owned(shards, num_cameras, time.monotonic())
        await task_cancellation.end(*loops)
        for shard in shards:
            shard.kill()
        for client in (leases, *clients):
            await client.close()
        await registry.close()
        await checkpoints.close()
    return {
        "placed_s": round(assigned_s, 2),
        "placed_process_s": round(assigned_cpu_s, 2),
        "redis_ops_per_s": round(rest.redis_ops_per_s),
        "renewal_bytes_per_s": round(rest.redis_in_bytes_per_s),
        "process_share_at_rest": round(rest.process_share, 2),
        "longest_turn_placing_ms": round(1000 * placing_turn_s),
        "longest_turn_at_rest_ms": round(1000 * rest_turn_s),
        "whole_again_s": round(failover_s, 2),
        "connections_per_shard": connections,
    } | changes


def _spec(number: int) -> CameraSpec:
    return CameraSpec(name=f"camera{number}", url=f"rtsp://user{number}:secret{number}@host{number}/stream")


async def _changes(fleet: Fleet, other: Fleet, registry: RedisRegistry, num_cameras: int) -> dict[str, float]:
    """Times one server more, and one camera added or updated, and read by another server, at this size of the fleet."""
    began_s = time.monotonic()
    await other.reconcile()
    first_apply_s = time.monotonic() - began_s
    adds, updates, reads = [], [], []
    version = (await _read(registry, None)).version
    for number in range(num_cameras, num_cameras + _CHANGES):
        began_s = time.monotonic()
        await fleet.add_camera(_spec(number))
        adds.append(time.monotonic() - began_s)
        began_s = time.monotonic()
        version = (await _read(registry, version)).version
        reads.append(time.monotonic() - began_s)
        began_s = time.monotonic()
        await fleet.update_camera(f"camera{number}", lambda spec: dataclasses.replace(spec, gate=False))
        updates.append(time.monotonic() - began_s)
        version = (await _read(registry, version)).version
    return {
        "first_apply_s": round(first_apply_s, 2),
        "add_one_ms": round(1000 * statistics.median(adds), 2),
        "update_one_ms": round(1000 * statistics.median(updates), 2),
        "read_one_ms": round(1000 * statistics.median(reads), 2),
    }


async def _read(registry: RedisRegistry, version: str | None) -> RegistryChanges:
    changes = await registry.changes_since(version)
    assert changes is not None
    return changes


async def _idle_connections(store_url: str) -> int:
    """The connections that a shard keeps once it has nothing to do: after it has acquired and restored many cameras."""
    observer = RedisConnection(store_url, timeout_s=5.0, retries=1)
    before = {client["id"] for client in await observer.client.client_list()}
    leases, checkpoints = RedisLeases(store_url), RedisCheckpointStore(store_url)
    cameras = [f"idle{number}" for number in range(8)]
    await asyncio.gather(*(leases.owner(camera) for camera in cameras))
    await asyncio.gather(*(checkpoints.load(camera, "model") for camera in cameras))
    await asyncio.sleep(2 * IDLE_S)
    connections = len({client["id"] for client in await observer.client.client_list()} - before)
    for client in (leases, checkpoints, observer):
        await client.close()
    return connections


async def _until_all_owned(shards: list[OwningShard], num_cameras: int, began_s: float) -> float:
    """Waits until every camera is on a shard. -> how long that took, in seconds"""
    while sum(len(shard.assignments) for shard in shards) < num_cameras:  # noqa: ASYNC110 - the shards have no event
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
