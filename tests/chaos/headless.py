"""A fleet on a Ray cluster whose head goes away and comes back: python -m tests.chaos.headless FOLDER DOWN_S.

The results of a client's calls go to FOLDER/calls.jsonl, one line of JSON for each call. This runs in a process of its
own, because RAY_REDIS_ADDRESS (where the head keeps its state) must be set before Ray is imported, and because Ray ends
a process that cannot reach its head for too long.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from actors import embedded_store, system
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ShardsConfig
from benchmarks import nodes
from benchmarks.nodes import Nodes
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec
from pipeline.device.device_config import DeviceConfig, WhenFull
from protos import hermes_v1_pb2 as pb

CAMERAS = tuple(f"camera{number}" for number in range(4))
SHARDS = 2
_ROUND_EVERY_S, _RECOVERY_TIMEOUT_S = 0.5, 150.0
_MIN_ROUNDS_DOWN = 3  # a list of shards may take seconds while the head is down
# Long, so that no shard loses a camera only because this machine is busy.
_LEASE = LeaseConfig(length_s=12.0)


class RecordingClient:
    """A client that records the result of each of its calls. phase: the part of the run that it belongs to."""

    def __init__(self, hermes: HermesClient, path: Path) -> None:
        self.phase = "starting"
        self._hermes = hermes
        self._path = path

    def record(self, **result: object) -> None:
        with self._path.open("a") as lines:
            lines.write(json.dumps({"phase": self.phase, **result}) + "\n")

    def ask(self, names: Iterable[str]) -> bool:
        """Asks each of these cameras. -> whether all have answered to the end"""
        has_answered = [self._ask(name) for name in names]
        return all(has_answered)

    def shards(self) -> list[pb.Shard]:
        """All shards; empty if the call is refused."""
        try:
            shards = list(self._hermes.list_shards().shards)
        except ClientError as error:
            self.record(call="list_shards", refused=error.reason)
            return []
        self.record(call="list_shards", found=[shard.pid for shard in shards])
        return shards

    def cameras(self) -> None:
        try:
            self.record(call="list_cameras", found=[camera.name for camera in self._hermes.list_cameras()])
        except ClientError as error:
            self.record(call="list_cameras", refused=error.reason)

    def _ask(self, name: str) -> bool:
        try:
            events = list(self._hermes.ask(name, "what is in view"))
        except ClientError as error:
            self.record(call="ask", camera=name, refused=error.reason)
            return False
        self.record(call="ask", camera=name, epoch=events[0].started.epoch)
        return True


async def main(folder: Path, down_s: float) -> None:
    """Asks before, while and after the head is down, then after a shard was killed."""
    with embedded_store.running(folder / "store") as store_url, nodes.running(SHARDS + 1) as cluster:
        async with system.running(_settings(store_url, cluster.address)) as running:
            with HermesClient(running.address) as hermes:
                await _run_phases(RecordingClient(hermes, folder / "calls.jsonl"), cluster, down_s)


async def _run_phases(client: RecordingClient, cluster: Nodes, down_s: float) -> None:
    async for _ in _rounds(_RECOVERY_TIMEOUT_S):
        if await asyncio.to_thread(client.ask, CAMERAS):
            break
    address = cluster.address
    client.phase = "before"
    await asyncio.to_thread(client.ask, CAMERAS)

    cluster.kill_head()
    client.phase = "down"
    async for _ in _rounds(down_s, min_rounds=_MIN_ROUNDS_DOWN):
        for call in (lambda: client.ask(CAMERAS), client.cameras, client.shards):
            await asyncio.to_thread(call)
        client.record(head_listens=_listens(address))

    client.phase = "returning"
    cluster.start_head()
    await asyncio.to_thread(client.ask, CAMERAS)

    victim = max(await asyncio.to_thread(client.shards), key=lambda shard: len(shard.cameras))
    client.phase = "killed"
    client.record(pid=victim.pid, cameras=list(victim.cameras))
    os.kill(victim.pid, signal.SIGKILL)
    async for _ in _rounds(_RECOVERY_TIMEOUT_S):
        # Ray's head once ended without a message when a shard was killed within a second of the head's restart.
        cluster.keep_head()
        has_answered = await asyncio.to_thread(client.ask, victim.cameras)
        up = {shard.pid for shard in await asyncio.to_thread(client.shards) if shard.state == pb.SHARD_STATE_UP}
        if has_answered and len(up - {victim.pid}) == SHARDS:
            break
    client.phase = "taken_over"
    await asyncio.to_thread(client.ask, victim.cameras)
    await asyncio.to_thread(client.shards)


async def _rounds(within_s: float, *, min_rounds: int = 0) -> AsyncIterator[None]:
    until_s = time.monotonic() + within_s
    for number in itertools.count():
        if number >= min_rounds and time.monotonic() >= until_s:
            return
        yield
        await asyncio.sleep(_ROUND_EVERY_S)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _settings(store_url: str, ray: str) -> HermesConfig:
    return HermesConfig(
        shards=ShardsConfig(
            count=SHARDS,
            ray=ray,
            checkpoint_every_s=2.0,
            lease=_LEASE,
            device=DeviceConfig(max_cameras=len(CAMERAS), when_full=WhenFull.LOWER_RATES),
        ),
        store=store_url,
        router=RouterConfig(port=0),
        cameras=tuple(CameraSpec(name=name, url=f"sim:street?seed={number}") for number, name in enumerate(CAMERAS)),
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
