"""Shards in this process for tests: real streams, a real engine, a store and leases in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType

from actors.config.shards import LeaseConfig
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint
from cache_store.errors import StoreUnavailable
from cache_store.leases import UNOWNED_EXPIRY, InMemoryLeases, Owner, Renewal, ShardIncarnation
from cache_store.store import InMemoryCheckpointStore
from pipeline.cameras import (
    CameraSpec,
    CameraState,
    CameraStatus,
    PlaybackSpeed,
)
from tests.actors.waiting import until
from tests.pipeline.device import engine_driver

STARTED_S = 1_700_000_000.0
FRAMES_SAMPLED = 48
USUAL_LEASE = LeaseConfig()
QUICK_LEASE = LeaseConfig(length_s=2.0, margin_s=0.2)

Running = Callable[..., "asynccontextmanager[CameraShard]"]


class UnreliableLeases(InMemoryLeases):
    """Leases in memory whose renewals can fail, and whose releases wait while `may_release` is not set."""

    is_down = False

    def __init__(self) -> None:
        super().__init__()
        self.has_begun_release, self.may_release = asyncio.Event(), asyncio.Event()
        self.may_release.set()

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        self.has_begun_release.set()
        await self.may_release.wait()
        await super().release(camera, owner, successor=successor)

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        if self.is_down:
            raise StoreUnavailable("store redis://host: refused")
        return await super().renew(incarnation)


class UnreliableStore(InMemoryCheckpointStore):
    """A store in memory that can be down; counts the saves."""

    is_down = False
    saves = 0

    def __init__(self) -> None:
        self.leases = UnreliableLeases()
        super().__init__(self.leases)

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        self._require_up()
        await super().save(camera, saved, owner)
        self.saves += 1

    async def delete(self, camera: str, owner: Owner) -> None:
        self._require_up()
        await super().delete(camera, owner)

    async def load(self, camera: str, *fingerprints: str) -> Checkpoint | None:
        self._require_up()
        return await super().load(camera, *fingerprints)

    def forget_everything(self) -> None:
        """Loses all checkpoints, as a store that comes back empty."""
        self._manifests.clear()

    def _require_up(self) -> None:
        if self.is_down:
            raise StoreUnavailable("store redis://host: refused")


def assignment(name: str, url: str, pace: PlaybackSpeed = PlaybackSpeed.FAST) -> Assignment:
    spec = CameraSpec(name=name, url=url, pace=pace)
    return Assignment(id=name, spec=spec, started_s=STARTED_S, expiry=UNOWNED_EXPIRY)


async def status(shard: CameraShard, name: str) -> CameraStatus:
    return next(camera for camera in (await shard.status()).cameras if camera.name == name)


async def watch_whole(
    shard: CameraShard, name: str, url: str, labels: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Adds a film and waits until all of it is in the memory."""
    added = assignment(name, url)
    await shard.add_camera(dataclasses.replace(added, spec=dataclasses.replace(added.spec, labels=dict(labels))))

    async def is_watched() -> bool:
        found = await status(shard, name)
        return found.state is CameraState.ENDED and found.memory.frames_seen == FRAMES_SAMPLED

    await until(is_watched)


def live(name: str = "street") -> Assignment:
    """A simulated street that starts now and never ends."""
    now_s = int(time.time())
    found = assignment(name, f"sim:street?start={now_s}", PlaybackSpeed.LIVE)
    return dataclasses.replace(found, started_s=float(now_s))


async def has_frames(shard: CameraShard, name: str, frames: int) -> bool:
    return (await status(shard, name)).memory.frames_seen >= frames


async def has_seen_until(shard: CameraShard, name: str, time_s: float | None) -> bool:
    newest_s = (await status(shard, name)).memory.newest_s
    return newest_s is not None and time_s is not None and newest_s >= time_s


async def has_standby_frame(shard: CameraShard, name: str) -> bool:
    return (await shard.status()).standby[name] is not None


async def is_empty(shard: CameraShard) -> bool:
    return (await shard.status()).standby == {}


async def has_ended(shard: CameraShard, name: str) -> bool:
    """Whether a recording has ended and nothing of it is on its way."""
    is_ended = (await status(shard, name)).state is CameraState.ENDED
    on_its_way = shard._engine.command("on its way", partial(engine_driver.has_frames, shard._engine))
    return is_ended and not await asyncio.wrap_future(on_its_way)


async def is_timed(shard: CameraShard) -> bool:
    """Waits until the device has timed a frame, which it does at start."""
    return await asyncio.wrap_future(shard._engine.measure_ingest()) > 0
