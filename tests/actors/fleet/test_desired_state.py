"""Fleets over one registry watch the same cameras, across restarts and after the registry lost its data."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from actors.fleet.registry import CameraRegistry, InMemoryRegistry, RegistryEntry
from actors.fleet.views import CameraView
from actors.shard.interface import Assignment
from cache_store.errors import StoreUnavailable
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraChanged, CameraExists, CameraSpec, CameraState, SourceInvalid
from tests.actors.scripted import ANSWER, ScriptedShard, ask, camera_spec, scripted_fleet, update


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
    later.configure([camera_spec("c")])
    await later.reconcile()

    assert [view.status.name for view in await later.list_cameras()] == ["a", "c"]
    assert later.started_s("a") == 500.0


async def test_a_camera_of_the_configuration_replaces_a_registered_one_of_its_name(shards, registry) -> None:
    await scripted_fleet(*shards, registry=registry).add_camera(camera_spec("a", "sim:old"))

    later = scripted_fleet(ScriptedShard(), registry=registry)
    later.configure([camera_spec("a", "sim:new")])
    await later.reconcile()

    assert [view.status.url for view in await later.list_cameras()] == ["sim:new"]


async def test_a_camera_that_the_configuration_no_longer_names_is_not_watched(shards, registry) -> None:
    earlier = scripted_fleet(*shards, registry=registry)
    earlier.configure([camera_spec("a")])
    await earlier.reconcile()

    later = scripted_fleet(ScriptedShard(), registry=registry)
    later.configure([])
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


async def test_a_registry_that_was_lost_again_before_it_was_read_is_no_removal(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    registry.forget_everything()
    await fleet.reconcile()  # writes again, and has not read what it wrote
    registry.forget_everything()

    await fleet.reconcile()
    await fleet.reconcile()

    assert await registered(registry) == ["a"]
    assert [answer async for answer in fleet.ask("a", "?")]


async def test_a_camera_that_was_removed_elsewhere_after_the_registry_was_lost_does_not_come_back(
    shards, registry
) -> None:
    fleet, other = scripted_fleet(*shards, registry=registry), scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    await other.reconcile()
    registry.forget_everything()
    await fleet.reconcile()  # writes again, and has not read what it wrote
    await other.remove_camera("a")

    await fleet.reconcile()

    assert await registered(registry) == []
    assert await fleet.list_cameras() == []


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


async def test_an_acknowledged_camera_comes_back_after_a_failover_that_lost_its_write(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    await fleet.reconcile()
    replica = registry.backup()
    camera_id = (await fleet.add_camera(camera_spec("b"))).status.id
    await fleet.reconcile()
    registry.roll_back(replica)

    await fleet.reconcile()

    assert await registered(registry) == ["a", "b"]
    assert (await fleet.get_camera("b")).status.id == camera_id
    assert [list(shard.assignments) for shard in shards] == [["a"], ["b"]]


async def test_a_removed_camera_stays_removed_after_a_failover_that_lost_its_removal(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    await fleet.reconcile()
    replica = registry.backup()
    await fleet.remove_camera("a")
    registry.roll_back(replica)

    await fleet.reconcile()
    await fleet.reconcile()

    assert await registered(registry) == ["b"]
    assert [list(shard.assignments) for shard in shards] == [[], ["b"]]


@pytest.mark.parametrize("is_configured", [False, True])
async def test_a_camera_whose_removal_no_fleet_remembers_ends_and_a_configured_one_begins_anew(
    shards, registry, is_configured: bool
) -> None:
    """Its id is fenced, so no shard could ever own it: it was in the list and silent for good."""
    first = scripted_fleet(*shards, registry=registry)
    if is_configured:
        first.configure([camera_spec("a")])
    else:
        await first.add_camera(camera_spec("a"))
    await first.reconcile()
    replica, camera_id = registry.backup(), (await first.get_camera("a")).status.id
    await first.remove_camera("a")
    registry.roll_back(replica)
    for shard in shards:
        shard.fenced.add(camera_id)
        shard.restart()

    fleet = scripted_fleet(*shards, registry=registry)
    for _ in range(3):
        await fleet.reconcile()

    cameras = await fleet.list_cameras()
    assert [camera.status.name for camera in cameras] == await registered(registry) == ["a"] * is_configured
    assert camera_id not in {camera.status.id for camera in cameras}
    assert [name for shard in shards for name in shard.assignments] == ["a"] * is_configured


async def test_an_update_comes_back_after_a_failover_that_lost_it(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    await fleet.reconcile()
    replica = registry.backup()
    spec = CameraSpec(name="a", url="sim:street", gate=False)
    await update(fleet, spec)
    await fleet.reconcile()
    registry.roll_back(replica)

    await fleet.reconcile()

    other = scripted_fleet(*shards, registry=registry, is_leader=lambda: False)
    await other.reconcile()
    assert (await other.get_camera("a")).spec == spec


async def test_of_two_specs_of_one_revision_that_of_the_fleet_stays_and_not_the_one_that_came_back(
    shards, registry
) -> None:
    """A fleet that took the camera up on its shard, while the registry was lost, had given that revision again."""
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(camera_spec("a"))
    await fleet.reconcile()
    before = registry.backup()
    await update(fleet, CameraSpec(name="a", url="sim:street", frames_per_second=1.0))
    replica = registry.backup()
    registry.roll_back(before)
    other = scripted_fleet(*shards, registry=registry)
    await other.reconcile()
    spec = CameraSpec(name="a", url="sim:street", gate=False)
    await update(other, spec)
    registry.roll_back(replica)

    for _ in range(3):
        await other.reconcile()
        await fleet.reconcile()

    assert [(await one.get_camera("a")).spec for one in (fleet, other)] == [spec, spec]
    assert shards[0].assignments["a"].spec == spec


async def test_of_two_fleets_that_add_one_name_at_once_the_first_wins_and_its_camera_stays(shards, registry) -> None:
    one, other = scripted_fleet(*shards, registry=registry), scripted_fleet(*shards, registry=registry)

    results = await asyncio.gather(
        one.add_camera(camera_spec("a")), other.add_camera(camera_spec("a", "sim:yard")), return_exceptions=True
    )
    await one.reconcile()
    await other.reconcile()

    assert [type(result) for result in results] == [CameraView, CameraExists]
    assert await registered(registry) == ["a"]
    assert [(await fleet.get_camera("a")).spec.url for fleet in (one, other)] == ["sim:street", "sim:street"]


async def test_a_write_that_failed_midway_is_made_again_and_loses_no_camera(shards, registry) -> None:
    """The store came back empty and was away again before the cameras were written."""
    flaky = FlakyRegistry()
    fleet = scripted_fleet(*shards, registry=flaky)
    await fleet.add_camera(camera_spec("a"))
    await fleet.reconcile()
    flaky.forget_everything()
    flaky.is_read_only = True
    with pytest.raises(StoreUnavailable):
        await fleet.reconcile()
    flaky.is_read_only = False

    await fleet.reconcile()

    assert await registered(flaky) == ["a"]
    assert await ask(fleet, "a") == list(ANSWER)


class FlakyRegistry(InMemoryRegistry):
    """Refuses new cameras while it is read-only."""

    is_read_only = False

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        if self.is_read_only:
            raise StoreUnavailable("store: read only")
        return await super().add(*entries)


class FullRegistry(InMemoryRegistry):
    """Has no room for another camera, once it is full."""

    is_full = False

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        self._require_room()
        return await super().add(*entries)

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        if successor is not None:
            self._require_room()
        return await super().remove(name, camera_id, successor=successor)

    def _require_room(self) -> None:
        if self.is_full:
            raise StoreUnavailable("store: full")


async def test_a_camera_whose_source_cannot_be_replaced_is_watched_as_before(shards) -> None:
    """It used to be removed first: where the second write failed, it was lost with its memory."""
    registry = FullRegistry()
    fleet = scripted_fleet(*shards, registry=registry)
    before = await fleet.add_camera(camera_spec("a"))
    registry.is_full = True

    with pytest.raises(StoreUnavailable):
        await update(fleet, camera_spec("a", "sim:other"), allow_memory_loss=True)
    await fleet.reconcile()

    assert (await fleet.get_camera("a")).status.id == before.status.id
    assert await ask(fleet, "a") == list(ANSWER)


async def test_a_configured_camera_that_got_another_source_still_belongs_to_the_configuration(shards, registry) -> None:
    earlier = scripted_fleet(*shards, registry=registry)
    earlier.configure([camera_spec("a")])
    await earlier.reconcile()
    await update(earlier, camera_spec("a", "sim:other"), allow_memory_loss=True)

    later = scripted_fleet(ScriptedShard(), registry=registry)
    later.configure([])
    await later.reconcile()

    assert await later.list_cameras() == []


class SlowRegistry(InMemoryRegistry):
    """A replacement takes a second to reach it."""

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        await asyncio.sleep(1.0)
        return await super().remove(name, camera_id, successor=successor)


async def test_of_two_servers_that_replace_one_source_the_second_is_told(shards) -> None:
    """It used to be answered as if its own source were watched."""
    registry = SlowRegistry()
    one, other = (scripted_fleet(*shards, registry=registry) for _ in range(2))
    await one.add_camera(camera_spec("a"))
    await other.reconcile()

    results = await asyncio.gather(
        update(one, camera_spec("a", "sim:one"), allow_memory_loss=True),
        update(other, camera_spec("a", "sim:other"), allow_memory_loss=True),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [CameraView, CameraChanged]
    assert registry.entries["a"].assignment.spec.url == "sim:one"


class UnwillingRegistry(InMemoryRegistry):
    """Refuses removals while it is read-only."""

    is_read_only = True

    async def remove(self, name: str, camera_id: str, *, successor: RegistryEntry | None = None) -> bool:
        if self.is_read_only:
            raise StoreUnavailable("store: read only")
        return await super().remove(name, camera_id, successor=successor)


@pytest.mark.parametrize("is_leader", [True, False])
async def test_a_camera_that_could_not_be_added_or_withdrawn_is_withdrawn_once_the_store_is_back(
    shards, is_leader: bool
) -> None:
    """It used to stay in the list: fenced and silent, or watched although its client had been told otherwise."""
    registry = UnwillingRegistry()
    fleet = scripted_fleet(*shards, registry=registry, is_leader=lambda: is_leader)
    for shard in shards:
        shard.states["a"] = (CameraState.FAILED, "no such scene")
    with pytest.raises(SourceInvalid):
        await fleet.add_camera(camera_spec("a"))
    with contextlib.suppress(StoreUnavailable):
        await fleet.reconcile()
    registry.is_read_only = False

    await fleet.reconcile()

    assert await registered(registry) == []
    assert await fleet.list_cameras() == []
