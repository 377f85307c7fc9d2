"""A shard whose processes run everything of a real one but the device and the pictures, and can be replaced."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from actors.config.schema import ShardSettings
from actors.config.shards import LeaseConfig, ShardsConfig
from actors.errors import ShardUnavailable
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import ForwardedShard, Timeout
from cache_store.leases import Owner
from cache_store.tiers import MemoryConfig
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.ingest_config import IngestConfig
from tests.chaos import simulated_device
from tests.chaos.history import Event
from tests.chaos.simulated_device import Scenes, SeenFrames
from tests.chaos.simulated_store import SimulatedStore, StoreCheckpoints, StoreLeases
from tests.chaos.virtual_process import ProcessEnded, VirtualProcess
from tests.virtual_time import now_s

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)
SLOTS = 6
_SETTINGS = ShardSettings(
    model="tiny",
    memory=MemoryConfig(),
    ingest=IngestConfig(),
    shards=ShardsConfig(checkpoint_every_s=3.0, lease=LEASE, device=DeviceConfig(max_cameras=SLOTS)),
)
_LATENCY_S = 0.002
_CLOSE_TIMEOUT_S = 40.0
_RESTART_S = (0.5, 3.0)  # from the end of a process to the next one


class ShardOfProcess:
    """The real CameraShard in one process."""

    def __init__(self, process: VirtualProcess, store: SimulatedStore, scenes: Scenes, on_retired: Any) -> None:
        self.process = process
        self._history = store.history
        device = simulated_device.device(scenes, SLOTS, process.wall_s, self._note_restored)
        self.shard = CameraShard(
            device,
            _SETTINGS,
            StoreCheckpoints(store),
            StoreLeases(store),
            on_retired=lambda: on_retired(self),
            clock=process.wall_s,
            boot_clock=process.boot_s,
        )
        self.incarnation = device.engine.answer_id = self.shard._incarnation.id  # type: ignore[attr-defined]

    def watched(self) -> list[str]:
        """The ids of the cameras that it watches or stands by for."""
        return [*self.shard._streams.owned, *self.shard._streams.standby]

    def spec_url(self, camera_id: str) -> str:
        """The URL that it watches the camera at."""
        streams = self.shard._streams
        return (streams.owned.get(camera_id) or streams.standby[camera_id]).spec.url

    def proven(self) -> dict[str, Owner]:
        """The cameras that it owns and can prove to own, so that it would answer."""
        holder = self.shard._lease_holder
        owners = {camera_id: holder.owner(camera_id) for camera_id in self.shard._streams.owned}
        return {camera_id: owner for camera_id, owner in owners.items() if owner is not None and holder.is_proven}

    def _note_restored(self, camera_id: str, seen: SeenFrames) -> None:
        owner = self.shard._lease_holder.owner(camera_id)
        epoch = owner.epoch if owner else 0
        self._history.add(
            Event(
                now_s(),
                "restored",
                camera_id,
                epoch,
                self.incarnation,
                seen.count,
                first_s=seen.first_s,
                scenes=seen.scenes,
            )
        )


class SimulatedShard(ForwardedShard):
    """A shard as fleets reach it. Its process can be replaced, as Ray replaces one; even while the old one lives on.

    is_ended: a server has ended its process for good, and none has started another one.
    """

    def __init__(self, number: int, store: SimulatedStore, scenes: Scenes, rng: random.Random) -> None:
        self.number = number
        self._store = store
        self._scenes = scenes
        self._rng = rng
        self._restarts: set[asyncio.Task[None]] = set()
        self.is_unreachable = self.is_ended = False
        self.lives: list[ShardOfProcess] = []  # every process so far, the present one last
        self.replace()

    @property
    def present(self) -> ShardOfProcess:
        return self.lives[-1]

    @property
    def process(self) -> VirtualProcess:
        return self.present.process

    @property
    def alive(self) -> list[ShardOfProcess]:
        return [life for life in self.lives if not life.process.is_dead]

    def replace(self) -> None:
        """Starts the next process, whether or not the last one has ended."""
        name = f"{self.number}.{len(self.lives)}"
        rate = self._rng.choice((1.0, 1.0, 0.98, 1.02))
        process = VirtualProcess(name, machine=self.number % 2, clock_rate=rate)
        life = process.enter(lambda: ShardOfProcess(process, self._store, self._scenes, self._on_retired))
        self.lives.append(life)
        self._store.history.add(Event(now_s(), "started", incarnation=life.incarnation, detail=name))

    def start(self) -> None:
        """Starts a process if the last one was ended for good."""
        if self.is_ended:
            self.is_ended = False
            VirtualProcess.outside(self.replace)

    async def end(self) -> None:
        """Saves what the process has, if it answers, and ends it for good."""
        life = self.present
        with contextlib.suppress(ShardUnavailable):
            await self._call("close", _CLOSE_TIMEOUT_S)
        life.process.kill()
        self.is_ended = self.is_ended or life is self.present

    async def kill(self) -> None:
        """Ends the present process; a moment later the next one runs."""
        life = self.present
        life.process.kill()
        await asyncio.sleep(self._rng.uniform(*_RESTART_S))
        if self.present is life and not self.is_ended:
            self.replace()

    async def _call(self, operation: str, timeout_s: Timeout, /, *args: object, **kwargs: object) -> Any:
        assert isinstance(timeout_s, float)
        await self._travel()
        life = self.present
        try:
            async with asyncio.timeout(timeout_s):
                result = await life.process.call(getattr(life.shard, operation)(*args, **kwargs))
        except ProcessEnded:
            raise ShardUnavailable(f"shard {self.number}: its process has ended") from None
        except TimeoutError:
            raise ShardUnavailable(f"shard {self.number}: no answer in time") from None
        await self._travel()
        return result

    async def _stream(self, operation: str, /, *args: object, **kwargs: object) -> AsyncGenerator[Any, None]:
        await self._travel()
        life = self.present
        items = getattr(life.shard, operation)(*args, **kwargs)
        try:
            async with aclosing(life.process.stream(items)) as events:
                async for event in events:
                    await self._travel()
                    yield event
        except ProcessEnded:
            raise ShardUnavailable(f"shard {self.number}: its process has ended") from None

    async def _travel(self) -> None:
        await asyncio.sleep(self._rng.expovariate(1 / _LATENCY_S))
        if self.is_unreachable:
            await asyncio.sleep(0.1)
            raise ShardUnavailable(f"shard {self.number}: unreachable")

    def _on_retired(self, life: ShardOfProcess) -> None:
        """A process whose lease is revoked ends itself, and Ray starts another."""
        life.process.kill()
        if life is self.present:
            self._restarts.add(VirtualProcess.start_outside(self.kill()))
