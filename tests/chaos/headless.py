"""A fleet on a Ray cluster whose head goes away and comes back: python -m tests.chaos.headless FOLDER AWAY_S.

What a client sees goes to FOLDER/seen, a line of JSON for each call. Where the head keeps its state, RAY_REDIS_ADDRESS,
must be in the environment before Ray is imported, and Ray ends a process that misses its head for too long: both ask
for a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from actors import embedded_store, system
from actors.config.schema import HermesConfig, LeaseConfig, RouterConfig, ShardsConfig
from benchmarks import nodes
from benchmarks.nodes import Nodes
from console.client.client import ClientError, HermesClient
from pipeline.cameras import CameraSpec
from pipeline.device.device_config import DeviceConfig
from protos import hermes_v1_pb2 as pb

CAMERAS = tuple(f"camera{number}" for number in range(4))
SHARDS = 2
_ROUND_S, _PATIENCE_S = 0.5, 150.0
# A shard that loses a camera only because this machine is busy is not what is looked for.
_LEASE = LeaseConfig(length_s=12.0)


class Witness:
    """A client that notes what becomes of each of its calls. phase: what it happens in."""

    def __init__(self, hermes: HermesClient, path: Path) -> None:
        self.phase = "starting"
        self._hermes = hermes
        self._path = path

    def note(self, **seen: object) -> None:
        with self._path.open("a") as lines:
            lines.write(json.dumps({"phase": self.phase, **seen}) + "\n")

    def ask(self, names: Iterable[str]) -> bool:
        """Asks each of these cameras; whether all have answered to the end."""
        answered = [self._ask(name) for name in names]
        return all(answered)

    def shards(self) -> list[pb.Shard]:
        """None of them where that is refused."""
        try:
            listed = list(self._hermes.list_shards().shards)
        except ClientError as error:
            self.note(call="list_shards", refused=error.reason)
            return []
        self.note(call="list_shards", found=[one.pid for one in listed])
        return listed

    def cameras(self) -> None:
        try:
            self.note(call="list_cameras", found=[one.name for one in self._hermes.list_cameras()])
        except ClientError as error:
            self.note(call="list_cameras", refused=error.reason)

    def _ask(self, name: str) -> bool:
        try:
            events = list(self._hermes.ask(name, "what is in view"))
        except ClientError as error:
            self.note(call="ask", camera=name, refused=error.reason)
            return False
        self.note(call="ask", camera=name, epoch=events[0].started.epoch)
        return True


async def main(folder: Path, away_s: float) -> None:
    """Asks before, while and after the head is away, then after a shard was killed."""
    with embedded_store.running(folder / "store") as store_url, nodes.running(SHARDS + 1) as cluster:
        async with system.running(_settings(store_url, cluster.address)) as running:
            with HermesClient(running.address) as hermes:
                await _witness(Witness(hermes, folder / "seen"), cluster, away_s)


async def _witness(seen: Witness, cluster: Nodes, away_s: float) -> None:
    async for _ in _rounds(_PATIENCE_S):
        if await asyncio.to_thread(seen.ask, CAMERAS):
            break
    address = cluster.address
    seen.phase = "before"
    await asyncio.to_thread(seen.ask, CAMERAS)

    cluster.kill_head()
    seen.phase = "away"
    async for _ in _rounds(away_s):
        for call in (lambda: seen.ask(CAMERAS), seen.cameras, seen.shards):
            await asyncio.to_thread(call)
        seen.note(head_listens=_listens(address))

    seen.phase = "returning"
    cluster.start_head()
    await asyncio.to_thread(seen.ask, CAMERAS)

    victim = max(await asyncio.to_thread(seen.shards), key=lambda one: len(one.cameras))
    seen.phase = "killed"
    seen.note(pid=victim.pid, cameras=list(victim.cameras))
    os.kill(victim.pid, signal.SIGKILL)
    async for _ in _rounds(_PATIENCE_S):
        # Ray's was once seen to end without a word when a shard was killed within a second of its return.
        cluster.keep_head()
        has_answered = await asyncio.to_thread(seen.ask, victim.cameras)
        up = {one.pid for one in await asyncio.to_thread(seen.shards) if one.state == pb.SHARD_STATE_UP}
        if has_answered and len(up - {victim.pid}) == SHARDS:
            break
    seen.phase = "followed"
    await asyncio.to_thread(seen.ask, victim.cameras)
    await asyncio.to_thread(seen.shards)


async def _rounds(within_s: float) -> AsyncIterator[None]:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        yield
        await asyncio.sleep(_ROUND_S)


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
            device=DeviceConfig(max_cameras=len(CAMERAS)),
        ),
        store=store_url,
        router=RouterConfig(port=0),
        cameras=tuple(CameraSpec(name=name, url=f"sim:street?seed={number}") for number, name in enumerate(CAMERAS)),
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
