"""A camera that another router has just added is found at once, and names that nobody knows cost few reads."""

from __future__ import annotations

import asyncio

import pytest

from actors.fleet.registry import InMemoryRegistry, RegistryChanges
from pipeline.answers import UnknownCamera
from tests.actors.scripted import ANSWER, ask, camera_spec, scripted_fleet
from tests.virtual_time import now_s


class CountingRegistry(InMemoryRegistry):
    """Counts how often it is read."""

    reads = 0

    async def changes_since(self, version: str | None) -> RegistryChanges | None:
        self.reads += 1
        return await super().changes_since(version)


async def test_a_camera_that_another_router_added_is_known_at_once(shards) -> None:
    """It used to be NOT_FOUND for up to a second after its add was acknowledged."""
    registry = InMemoryRegistry()
    one = scripted_fleet(*shards, registry=registry)
    other = scripted_fleet(*shards, registry=registry, is_leader=lambda: False)
    await other.reconcile()
    for name in ("a", "b", "c"):
        await one.add_camera(camera_spec(name))

    assert await ask(other, "a") == list(ANSWER)
    await one.add_camera(camera_spec("d"))
    assert (await other.get_camera("d")).spec.name == "d"
    await one.add_camera(camera_spec("e"))
    await other.erase_memory("e")


async def test_however_many_ask_for_unknown_names_the_registry_is_read_five_times_a_second(shards) -> None:
    registry = CountingRegistry()
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.reconcile()
    before, began_s = registry.reads, now_s()

    async def ask_often(number: int) -> None:
        while now_s() < began_s + 2.0:
            with pytest.raises(UnknownCamera):
                await fleet.get_camera(f"unknown{number}")

    await asyncio.gather(*map(ask_often, range(50)))

    assert 0 < registry.reads - before <= 12
