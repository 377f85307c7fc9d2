"""Fleets over one registry watch the same cameras, across restarts and after the registry lost its data."""

from __future__ import annotations

import pytest

from actors.fleet.registry import CameraRegistry, InMemoryRegistry, RegistryEntry
from actors.shard.interface import Assignment
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraExists
from tests.actors.scripted import ANSWER, ScriptedShard, ask, camera_spec, scripted_fleet


@pytest.fixture
def registry() -> InMemoryRegistry:
    return InMemoryRegistry()


async def registered(registry: CameraRegistry) -> list[str]:
    changes = await registry.changes_since(None)
    assert changes is not None
    return list(changes.entries)


async def test_the_next_system_watches_an_added_camera_and_not_a_removed_one(shards, registry) -> None:
    earlier = scripted_fleet(*shards, registry=registry)
    for name in ("a", "b"):
        await earlier.add_camera(camera_spec(name))
    await earlier.remove_camera("b")

    later = scripted_fleet(ScriptedShard(), registry=registry)
    later.add_configured_camera(camera_spec("c"))
    await later.remove_unconfigured()
    await later.reconcile()

    assert [view.status.name for view in await later.list_cameras()] == ["a", "c"]
    assert later.started_s("a") == 500.0


async def test_a_camera_of_the_configuration_replaces_a_registered_one_of_its_name(shards, registry) -> None:
    await scripted_fleet(*shards, registry=registry).add_camera(camera_spec("a", "sim:old"))

    later = scripted_fleet(ScriptedShard(), registry=registry)
    later.add_configured_camera(camera_spec("a", "sim:new"))
    await later.remove_unconfigured()
    await later.reconcile()

    assert [view.status.url for view in await later.list_cameras()] == ["sim:new"]


async def test_a_camera_that_the_configuration_no_longer_names_is_not_watched(shards, registry) -> None:
    earlier = scripted_fleet(*shards, registry=registry)
    earlier.add_configured_camera(camera_spec("a"))
    await earlier.reconcile()

    later = scripted_fleet(ScriptedShard(), registry=registry)
    await later.remove_unconfigured()
    await later.reconcile()

    assert await later.list_cameras() == []


async def test_a_fleet_sees_the_cameras_that_another_one_adds_and_removes(shards, registry) -> None:
    one = scripted_fleet(*shards, registry=registry)
    other = scripted_fleet(*shards, registry=registry, is_leader=lambda: False)
    await one.add_camera(camera_spec("a"))
    await other.reconcile()
    assert await ask(other, "a") == list(ANSWER)

    await one.remove_camera("a")
    await other.reconcile()

    with pytest.raises(UnknownCamera):
        await ask(other, "a")


async def test_a_name_that_another_fleet_just_used_is_refused_for_a_different_camera(shards, registry) -> None:
    one, other = scripted_fleet(*shards, registry=registry), scripted_fleet(*shards, registry=registry)
    await one.add_camera(camera_spec("a"))

    with pytest.raises(CameraExists):
        await other.add_camera(camera_spec("a", "sim:yard"))


async def test_a_registry_that_came_back_empty_is_written_again(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    await fleet.reconcile()
    registry.forget_everything()

    await fleet.reconcile()

    assert await registered(registry) == ["a"]
    assert await ask(fleet, "a") == list(ANSWER)


async def test_a_fleet_keeps_its_cameras_when_another_one_wrote_to_the_empty_registry_first(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    await fleet.reconcile()
    registry.forget_everything()
    await registry.add(RegistryEntry(Assignment(id="b", spec=camera_spec("b"), started_s=500.0)))

    await fleet.reconcile()

    assert await registered(registry) == ["a", "b"]
    assert [view.status.name for view in await fleet.list_cameras()] == ["a", "b"]
