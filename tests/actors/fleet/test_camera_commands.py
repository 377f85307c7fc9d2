"""A camera is added once its source works, and not added otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import structlog

from actors import task_cancellation
from actors.fleet.plan import NO_SLOT_WHILE_MOVING
from actors.fleet.registry import InMemoryRegistry, RegistryChanges, RegistryEntry
from actors.shard.interface import Assignment
from cache_store.errors import CameraFenced, StoreUnavailable
from cache_store.leases import InMemoryLeases, Leases, refused
from pipeline.answers import UnknownCamera
from pipeline.cameras import (
    CameraChanged,
    CameraExists,
    CameraState,
    DeviceFull,
    InvalidCamera,
    SourceInvalid,
    SourceReason,
    SourceUnreachable,
    TooManyCameras,
)
from tests.actors.scripted import ScriptedShard, camera_spec, scripted_fleet


async def test_adding_a_camera_again_changes_nothing(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    await fleet.add_camera(camera_spec("a"))

    assert [len(shard.assignments) for shard in shards] == [1, 0]


async def test_a_different_camera_of_the_same_name_is_refused(fleet) -> None:
    await fleet.add_camera(camera_spec("a"))

    with pytest.raises(CameraExists, match="'a' exists"):
        await fleet.add_camera(camera_spec("a", "sim:yard"))


async def test_a_malformed_url_is_refused_before_it_reaches_a_shard(fleet) -> None:
    with pytest.raises(InvalidCamera, match="ftp"):
        await fleet.add_camera(camera_spec("a", "ftp://host/x"))

    assert await fleet.list_cameras() == []


@pytest.mark.parametrize(
    ("state", "detail", "error", "message"),
    [
        (CameraState.FAILED, "no video in it", SourceInvalid, "no video in it"),
        (CameraState.BACKING_OFF, "refused; try 2 at 2026-11-28 03:55:12 UTC", SourceUnreachable, "refused"),
        (CameraState.CONNECTING, "", SourceUnreachable, "no frame within 0 s of sim:street"),
    ],
)
async def test_a_camera_whose_source_does_not_open_is_not_added(fleet, shards, state, detail, error, message) -> None:
    shards[0].states["a"] = (state, detail)

    with pytest.raises(error, match=f"{message}; the camera was not added$"):
        await fleet.add_camera(camera_spec("a"))

    assert shards[0].assignments == {}
    assert shards[0].forgotten == []
    assert await fleet.list_cameras() == []


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (SourceReason.UNAUTHORIZED, SourceInvalid),
        (SourceReason.FORBIDDEN, SourceInvalid),
        (SourceReason.REDIRECTED, SourceInvalid),
        (SourceReason.TLS, SourceInvalid),
        (SourceReason.CONNECTION_REFUSED, SourceUnreachable),
        (SourceReason.NOT_FOUND, SourceUnreachable),
        (None, SourceUnreachable),
    ],
)
async def test_a_client_is_told_to_retry_only_where_a_retry_may_help(fleet, shards, reason, error) -> None:
    """Each try sends the login again, and many cameras lock out after a few wrong ones."""
    shards[0].states["a"] = (CameraState.BACKING_OFF, "refused; try 2 at 2026-11-28 03:55:12 UTC")
    shards[0].reason = reason

    with pytest.raises(error) as caught:
        await fleet.add_camera(camera_spec("a"))

    assert caught.value.reason is (reason or SourceReason.UNKNOWN)


async def test_a_camera_that_refuses_its_login_after_its_first_frame_is_added(fleet, shards) -> None:
    shards[0].states["a"] = (CameraState.STALLED, "401 Unauthorized")
    shards[0].reason = SourceReason.UNAUTHORIZED

    view = await fleet.add_camera(camera_spec("a"))

    assert view.status.state is CameraState.STALLED


async def test_only_a_camera_that_was_added_is_logged_as_added(fleet, shards) -> None:
    for shard in shards:
        shard.states["refused"] = (CameraState.FAILED, "no video in it")

    with structlog.testing.capture_logs() as events:
        await fleet.add_camera(camera_spec("a"))
        with pytest.raises(SourceInvalid):
            await fleet.add_camera(camera_spec("refused"))

    assert [event["camera"] for event in events if event["event"] == "camera_added"] == ["a"]


async def test_a_camera_whose_source_does_not_open_is_not_in_the_registry(shards) -> None:
    registry = InMemoryRegistry()
    shards[0].states["a"] = (CameraState.FAILED, "no video in it")

    with pytest.raises(SourceInvalid):
        await scripted_fleet(*shards, registry=registry).add_camera(camera_spec("a"))

    changes = await registry.changes_since(None)
    assert changes is not None
    assert (changes.entries, changes.removals) == ({}, {})


class SlowRegistry(InMemoryRegistry):
    """slow: the call that takes a minute, after its effect, once there is a camera."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self._slow = slow

    async def add(self, *entries: RegistryEntry) -> Mapping[str, RegistryEntry]:
        present = await super().add(*entries)
        await self._wait("add")
        return present

    async def changes_since(self, version: str | None) -> RegistryChanges | None:
        changes = await super().changes_since(version)
        await self._wait("changes_since")
        return changes

    async def _wait(self, call: str) -> None:
        if call == self._slow and self.entries:
            self._slow = ""
            await asyncio.sleep(60.0)


@pytest.mark.parametrize("slow", ["add", "changes_since"])
async def test_a_client_that_gives_up_while_the_registry_is_slow_leaves_no_camera(shards, slow: str) -> None:
    """The camera was watched although nobody had heard that it was added."""
    registry = SlowRegistry(slow)
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.reconcile()
    adding = asyncio.create_task(fleet.add_camera(camera_spec("a")))
    await asyncio.sleep(1.0)
    assert list(registry.entries) == ["a"]

    await task_cancellation.end(adding)
    for _ in range(3):
        await fleet.reconcile()

    assert registry.entries == {}
    assert await fleet.list_cameras() == []
    assert shards[0].assignments == {}


class FencedShard(ScriptedShard):
    """Each camera has been removed by the time that the shard acquires it."""

    async def add_camera(self, assignment: Assignment) -> None:
        raise CameraFenced(f"camera {assignment.id!r}: it was removed")


async def test_a_camera_that_another_client_removes_while_it_is_added_is_no_error_of_the_server() -> None:
    """It was INTERNAL, and raised the alert HermesErrors."""
    fleet = scripted_fleet(FencedShard())

    with pytest.raises(CameraChanged, match="'a' was changed by another call"):
        await fleet.add_camera(camera_spec("a"))

    assert await fleet.list_cameras() == []


async def test_the_fleet_s_lines_about_a_camera_name_its_epoch(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].epoch = 7
    await fleet.list_cameras()

    with structlog.testing.capture_logs() as events:
        await fleet.move_camera("a")

    (moved,) = [event for event in events if event["event"] == "camera_moved"]
    assert (moved["camera"], moved["epoch"]) == ("a", 7)
    assert moved["camera_id"] == (await fleet.get_camera("a")).status.id


async def test_a_camera_of_the_configuration_stays_although_its_source_does_not_open(fleet, shards) -> None:
    shards[0].states["a"] = (CameraState.BACKING_OFF, "connection refused")
    fleet.configure([camera_spec("a")])
    await fleet.reconcile()

    view = await fleet.get_camera("a")

    assert view.status.state is CameraState.BACKING_OFF
    assert view.status.detail == "connection refused"


async def test_a_camera_goes_to_the_shard_whose_device_has_time(shards) -> None:
    fleet = scripted_fleet(*shards)
    shards[0].ingest_share, shards[0].max_ingest_share = 0.85, 0.8
    await fleet.reconcile()

    await fleet.add_camera(camera_spec("a"))

    assert [len(shard.assignments) for shard in shards] == [0, 1]


async def test_a_camera_for_which_no_device_has_time_is_refused_with_the_figure(shards) -> None:
    """Every shard is asked, because only a shard knows what a frame takes."""
    fleet = scripted_fleet(*shards)
    for index, shard in enumerate(shards):
        shard.add_error = DeviceFull(f"shard {index}: the other cameras take 79.0% (limit 80%)")

    with pytest.raises(DeviceFull, match=r"shard 1: .* \(limit 80%\)"):
        await fleet.add_camera(camera_spec("a"))
    assert await fleet.list_cameras() == []

    shards[1].add_error = None
    await fleet.add_camera(camera_spec("a"))
    assert [len(shard.assignments) for shard in shards] == [0, 1]


async def test_a_full_fleet_refuses_a_camera() -> None:
    fleet = scripted_fleet(ScriptedShard(max_cameras=1))
    await fleet.add_camera(camera_spec("a"))

    with pytest.raises(TooManyCameras):
        await fleet.add_camera(camera_spec("b"))

    assert [view.status.name for view in await fleet.list_cameras()] == ["a"]


async def test_a_move_that_failed_keeps_no_slot() -> None:
    """Its standby used to keep one for 30 s, and a camera was refused although the fleet had room for it."""
    shards = [ScriptedShard(max_cameras=1, pid=100), ScriptedShard(max_cameras=1, pid=200)]
    fleet = scripted_fleet(*shards)
    await fleet.reconcile()
    await fleet.add_camera(camera_spec("a"))
    shards[0].release_error = StoreUnavailable("store redis://host: no permission")

    with pytest.raises(StoreUnavailable):
        await fleet.move_camera("a")

    assert shards[1].standby == set()
    assert (await fleet.add_camera(camera_spec("b"))).status.state is CameraState.LIVE


async def test_a_camera_waits_for_the_slot_that_another_one_keeps_while_it_moves() -> None:
    shards = [ScriptedShard(max_cameras=1, pid=100), ScriptedShard(max_cameras=1, pid=200)]
    fleet = scripted_fleet(*shards)
    await fleet.reconcile()
    await fleet.add_camera(camera_spec("a"))
    shards[1].standby.add((await fleet.get_camera("a")).status.id)

    view = await fleet.add_camera(camera_spec("b"))

    assert (view.status.state, view.status.detail) == (CameraState.WAITING, NO_SLOT_WHILE_MOVING)
    shards[1].standby.clear()
    await fleet.reconcile()
    assert (await fleet.get_camera("b")).status.state is CameraState.LIVE


async def test_a_camera_whose_previous_owner_s_lease_is_valid_is_added_and_waits(shards) -> None:
    shards[0].add_error = refused("a", "earlier")
    fleet = scripted_fleet(*shards, lease_length_s=60.0)

    view = await fleet.add_camera(camera_spec("a"))

    assert view.status.state is CameraState.RECOVERING
    assert view.status.detail == "camera 'a': owned by shard earlier"
    shards[0].add_error = None
    await fleet.reconcile()
    assert (await fleet.get_camera("a")).status.state is CameraState.LIVE


async def test_erasing_a_camera_that_another_server_removed_says_that_there_is_none(shards) -> None:
    """It used to say that the camera's memory was being restored."""
    registry = InMemoryRegistry()
    fleet, other = (scripted_fleet(*shards, registry=registry) for _ in range(2))
    await fleet.add_camera(camera_spec("a"))
    await other.remove_camera("a")

    with pytest.raises(UnknownCamera, match="'a'"):
        await fleet.erase_memory("a")


async def test_erasing_a_camera_in_whose_place_there_is_another_one_now_is_refused(shards) -> None:
    registry = InMemoryRegistry()
    fleet, other = (scripted_fleet(*shards, registry=registry) for _ in range(2))
    await fleet.add_camera(camera_spec("a"))
    await other.remove_camera("a")
    shards[0].is_down = shards[1].is_down = True
    other.configure([camera_spec("a", "sim:yard")])
    await other.reconcile()
    shards[0].is_down = shards[1].is_down = False

    with pytest.raises(CameraChanged, match="'a' was changed by another call"):
        await fleet.erase_memory("a")


class OwningShard(ScriptedShard):
    """Takes a camera only if it can acquire the ownership."""

    def __init__(self, leases: Leases) -> None:
        super().__init__(pid=100)
        self.attempts = 0
        self._leases = leases

    async def add_camera(self, assignment) -> None:
        self.attempts += 1
        await self._leases.acquire(assignment.spec.name, "100", expiry=assignment.expiry)
        await super().add_camera(assignment)


async def test_unowned_cameras_are_granted_at_the_first_attempt_until_the_store_loses_its_data() -> None:
    leases = InMemoryLeases()
    shard = OwningShard(leases)
    fleet = scripted_fleet(shard, leases=leases)
    await fleet.add_camera(camera_spec("a"))
    await fleet.reconcile()
    assert "a" in shard.assignments

    shard.attempts = 0
    await fleet.add_camera(camera_spec("b"))
    assert (shard.attempts, set(shard.assignments)) == (1, {"a", "b"})

    leases.forget_everything()
    await fleet.add_camera(camera_spec("c"))
    assert set(shard.assignments) == {"a", "b"}
    await fleet.reconcile()
    assert set(shard.assignments) == {"a", "b", "c"}


async def test_a_camera_whose_client_gives_up_before_its_first_frame_is_not_added(fleet, shards) -> None:
    """It used to stay, although nobody had been told of it."""
    shards[0].states["a"] = (CameraState.CONNECTING, "")
    adding = asyncio.create_task(fleet.add_camera(camera_spec("a")))
    await asyncio.sleep(0.1)
    assert "a" in shards[0].assignments

    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding

    assert shards[0].assignments == {}
    assert await fleet.list_cameras() == []


async def test_a_camera_that_is_removed_while_it_is_added_is_said_to_be(fleet, shards) -> None:
    """The call used to wait to its end, and then to blame the source."""
    shards[0].states["a"] = (CameraState.CONNECTING, "")
    adding = asyncio.create_task(fleet.add_camera(camera_spec("a")))
    await asyncio.sleep(0.1)

    await fleet.remove_camera("a")

    with pytest.raises(CameraChanged, match="'a': another call removed or replaced it"):
        await adding
    assert await fleet.list_cameras() == []
