"""Schedules in which cameras are added, changed and removed, the registry loses writes and fleets differ in size.

Whatever fails: what was added is watched, what was removed leaves nothing, and no name gets another one's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.errors import ServiceError
from cache_store.errors import StoreError
from pipeline.answers import QuestionError
from pipeline.cameras import CameraError, CameraSpec
from tests import virtual_time
from tests.chaos.simulated import SimulatedShard
from tests.chaos.test_ownership import FAULTS, HISTORIES, SCHEDULES, World
from tests.virtual_time import now_s

NAMES = tuple(f"added{number}" for number in range(4))
# No acknowledged write survives a store that lost everything while the only fleet that knew it was restarted.
EXCLUDED = (World.store_emptied, World.fleet_restarts)


class ChangingWorld(World):
    """Clients change which cameras there are. A change that was not acknowledged may have happened or not."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        excluded = self.rng.choice(EXCLUDED)
        changes = (self.add, self.add, self.add, self.update, self.remove, self.remove, self.roll_back, self.resize)
        faults = [fault for fault in FAULTS if fault is not excluded]
        self.faults = [*faults, *(lambda _, change=change: change() for change in changes * 2)]
        self.present: set[str] = set()  # names whose adding was acknowledged, and nothing since
        self.removed: dict[str, float] = {}  # ids whose removal was acknowledged, and when
        self._copy = self.store.registry.backup()
        self._is_small = False

    async def add(self) -> None:
        name = self.rng.choice(NAMES)
        self.note(f"{name} added")
        if await self._acknowledged(name, self._fleet.add_camera(CameraSpec(name=name, url="sim:street"))):
            self.present.add(name)

    async def update(self) -> None:
        name = self.rng.choice(NAMES)
        self.note(f"{name} updated")
        with contextlib.suppress(ServiceError, StoreError, CameraError, QuestionError):
            await self._fleet.update_camera(name, lambda spec: CameraSpec(name=name, url=spec.url, gate=not spec.gate))

    async def remove(self) -> None:
        name, fleet = self.rng.choice(NAMES), self._fleet
        with contextlib.suppress(QuestionError):
            camera_id = (await fleet.get_camera(name)).status.id
            self.note(f"{name} removed")
            if await self._acknowledged(name, fleet.remove_camera(name)):
                self.removed[camera_id] = now_s()

    async def roll_back(self) -> None:
        """A failover to a replica that has not the newest writes of the registry."""
        self.note("registry rolled back")
        self.store.registry.roll_back(self._copy)

    async def resize(self) -> None:
        """One fleet takes over another number of shards before the other does."""
        self._is_small = not self._is_small
        shards: list[SimulatedShard] = self.shards[:2] if self._is_small else self.shards
        self.note(f"{len(shards)} shards")
        for running in self.rng.sample(self.fleets, len(self.fleets)):
            running.fleet.resize(shards, 0)
            await asyncio.sleep(self.rng.uniform(0.0, 3.0))

    @property
    def _fleet(self) -> Any:
        return self.rng.choice(self.fleets).fleet

    async def _acknowledged(self, name: str, change: Coroutine[Any, Any, Any]) -> bool:
        self.present.discard(name)
        if self.rng.random() < 0.5:
            self._copy = self.store.registry.backup()  # the replica has caught up
        try:
            await change
        except (ServiceError, StoreError, CameraError, QuestionError):
            return False
        self.present.discard(name)
        return True

    def broken_promises(self) -> list[str]:
        """What was acknowledged and is not so at the end."""
        cameras = {name: entry.id for name, entry in self.store.registry.entries.items()}
        watched = {camera for shard in self.shards for process in shard.processes for camera in process.streams}
        kept = {camera for camera in self.removed if self.store.checkpoints.has_checkpoints(camera)}
        return [
            *(f"{name} was added and is not watched" for name in self.present if cameras.get(name) not in watched),
            *(f"{camera} was removed and is watched" for camera in self.removed.keys() & watched),
            *(f"{camera} was removed and has checkpoints" for camera in kept),
            *(f"{camera} is watched and nobody wants it" for camera in watched - set(cameras.values())),
        ]


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_what_was_acknowledged_is_so_in_the_end(seed: int) -> None:
    world: list[ChangingWorld] = []

    async def run() -> None:
        world.append(ChangingWorld(seed))
        await world[0].run()

    virtual_time.run(run())

    history = world[0].history
    broken = [*history.violations(), *world[0].broken_promises()]
    if broken:
        raise AssertionError(f"seed {seed}, see {history.save(HISTORIES)}: {broken[:5]}")
    assert world[0].errors == []
    assert world[0].present or world[0].removed
