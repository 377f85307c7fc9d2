"""A store in virtual time that can be down, slow or emptied, as processes reach it."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from actors.fleet.registry import InMemoryRegistry, RegistryChanges, RegistryEntry
from actors.fleet.shard_numbers import InMemoryNumbersStore, ShardNumbers
from actors.fleet.shared_settings import Agreement, InMemorySettingsStore, SharedSettings
from actors.ownership.leader_election import LEADER_ROLE
from cache_store.checkpoint import Checkpoint
from cache_store.errors import StoreUnavailable
from cache_store.leases import InMemoryLeases, Lease, LeaseExpiry, Owner, Renewal, ShardIncarnation
from cache_store.store import InMemoryCheckpointStore
from tests.chaos.history import Event, History
from tests.chaos.virtual_process import VirtualProcess
from tests.virtual_time import now_s

_TIMEOUT_S = 1.0

T = TypeVar("T")


class SimulatedStore:
    """Leases, registry and checkpoints in memory, and the network to them."""

    def __init__(self, rng: random.Random, history: History) -> None:
        self.leases = InMemoryLeases(clock=lambda: now_s() + self.clock_step_s)
        self.checkpoints = InMemoryCheckpointStore(self.leases)
        self.registry = InMemoryRegistry()
        self.settings = InMemorySettingsStore()
        self.numbers = InMemoryNumbersStore()
        self.names: dict[str, dict[str, None]] = {}  # of every camera that the registry ever had: name, then ids
        self.cut_off: set[VirtualProcess] = set()
        self.history = history
        self.is_down = False
        self.slowness_s = 0.002
        self.clock_step_s = 0.0
        self._rng = rng
        self._running: set[asyncio.Task[object]] = set()

    def forget_everything(self) -> None:
        """Loses all data, like a server that restarts without its file."""
        self.leases.forget_everything()
        self.registry.forget_everything()
        self.settings = InMemorySettingsStore()
        self.numbers = InMemoryNumbersStore()
        self.checkpoints = InMemoryCheckpointStore(self.leases)

    async def perform(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs one operation in the store. Raises StoreUnavailable if it is down or does not reply in time.

        After a timeout the operation may still be applied, at once or later: the caller cannot know.
        """
        if self.is_down or VirtualProcess.current() in self.cut_off:
            await asyncio.sleep(self._rng.uniform(0, 0.1))
            raise StoreUnavailable("store: down")
        # In no process: what was sent is applied, whatever becomes of the caller.
        task: asyncio.Task[T] = asyncio.get_running_loop().create_task(
            self._apply(operation), context=contextvars.Context()
        )
        self._running.add(task)
        task.add_done_callback(self._on_end)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await asyncio.shield(task)
        except TimeoutError:
            raise StoreUnavailable("store: no answer in time") from None

    def _on_end(self, task: asyncio.Task[object]) -> None:
        """Retrieves the error of an operation whose caller may have timed out or been cancelled."""
        self._running.discard(task)
        if not task.cancelled():
            task.exception()

    async def _apply(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await asyncio.sleep(self._rng.expovariate(1 / self.slowness_s))
        result = await operation()
        await asyncio.sleep(self._rng.expovariate(1 / self.slowness_s))
        return result


class StoreLeases:
    """The store's leases, as a caller reaches them. Every granted camera is noted in the history."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        return await self._store.perform(lambda: self._store.leases.renew(incarnation))

    async def acquire(
        self, camera: str, incarnation: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None
    ) -> Owner:
        async def acquire() -> Owner:
            owner = await self._store.leases.acquire(camera, incarnation, min_epoch=min_epoch, expiry=expiry)
            if camera != LEADER_ROLE:
                self._store.history.add(Event(now_s(), "owned", camera, owner.epoch, owner.incarnation))
            return owner

        return await self._store.perform(acquire)

    async def owner(self, camera: str) -> Owner | None:
        return await self._store.perform(lambda: self._store.leases.owner(camera))

    async def lease(self, incarnation: str) -> Lease | None:
        return await self._store.perform(lambda: self._store.leases.lease(incarnation))

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        await self._store.perform(lambda: self._store.leases.release(camera, owner, successor=successor))

    async def fence(self, camera: str) -> Owner:
        return await self._store.perform(lambda: self._store.leases.fence(camera))

    async def retire(self, incarnation: str) -> None:
        await self._store.perform(lambda: self._store.leases.retire(incarnation))


class StoreRegistry:
    """The store's registry, as a fleet reaches it."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        async def add() -> Mapping[str, RegistryEntry]:
            present = await self._store.registry.add(*entries)
            for name, entry in present.items():
                self._store.names.setdefault(name, {})[entry.id] = None
            return present

        return await self._store.perform(add)

    async def update(self, entry: RegistryEntry) -> bool:
        return await self._store.perform(lambda: self._store.registry.update(entry))

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        async def remove() -> bool:
            is_removed = await self._store.registry.remove(name, camera_id, successor=successor)
            if is_removed and successor is not None:
                self._store.names.setdefault(name, {})[successor.id] = None
            if is_removed:
                self._store.history.add(Event(now_s(), "unregistered", camera_id, name=name))
            return is_removed

        return await self._store.perform(remove)

    async def finish_removal(self, camera_id: str) -> None:
        await self._store.perform(lambda: self._store.registry.finish_removal(camera_id))

    async def changes_since(self, version: str | None) -> RegistryChanges | None:
        return await self._store.perform(lambda: self._store.registry.changes_since(version))


class StoreSettings:
    """The settings that all fleets share, as one of them reaches them."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    async def newest(self) -> SharedSettings | None:
        return await self._store.perform(self._store.settings.newest)

    async def agree(self, settings: SharedSettings) -> Agreement:
        return await self._store.perform(lambda: self._store.settings.agree(settings))


class StoreNumbers:
    """The numbers of shards that all fleets share, as one of them reaches them."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    async def read(self) -> ShardNumbers | None:
        return await self._store.perform(self._store.numbers.read)

    async def replace(self, before: ShardNumbers | None, after: ShardNumbers) -> bool:
        return await self._store.perform(lambda: self._store.numbers.replace(before, after))


class StoreCheckpoints:
    """The store's checkpoints, as a process reaches them. Every commit is noted in the history."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    async def save(self, camera: str, checkpoint: Checkpoint, owner: Owner) -> None:
        async def save() -> None:
            await self._store.checkpoints.save(camera, checkpoint, owner)
            frames = checkpoint.facts.frames_seen
            self._store.history.add(Event(now_s(), "commit", camera, owner.epoch, owner.incarnation, frames))

        await self._store.perform(save)

    async def load(self, camera: str, *fingerprints: str) -> Checkpoint | None:
        return await self._store.perform(lambda: self._store.checkpoints.load(camera, *fingerprints))

    async def delete(self, camera: str, owner: Owner) -> None:
        async def delete() -> None:
            await self._store.checkpoints.delete(camera, owner)
            self._store.history.add(Event(now_s(), "deleted", camera, owner.epoch))

        await self._store.perform(delete)

    def end(self, camera: str) -> None:
        """Has nothing to drop."""

    async def close(self) -> None:
        """Has nothing to close."""
