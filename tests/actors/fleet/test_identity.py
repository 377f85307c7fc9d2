"""A memory belongs to a camera's identity: it stays with the source, whatever else changes, and ends with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.errors import CameraRecovering
from actors.fleet.fleet import Fleet
from actors.fleet.registry import InMemoryRegistry
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraSpec, InvalidCamera, SourceChanged
from tests.actors.scripted import RecordingEraser, camera_spec, scripted_fleet, update

URL = "rtsp://host/street"


@pytest.fixture
def registry() -> InMemoryRegistry:
    return InMemoryRegistry()


async def configured(shards, registry, spec: CameraSpec, eraser: RecordingEraser | None = None) -> Fleet:
    """A fleet that was started with this one camera in its configuration."""
    fleet = scripted_fleet(*shards, registry=registry, eraser=eraser.seam if eraser else None)
    fleet.configure([spec])
    await fleet.reconcile()
    return fleet


async def test_an_edited_configuration_keeps_the_camera_where_its_source_is_the_same(shards, registry) -> None:
    earlier = await configured(shards, registry, CameraSpec(name="a", url=URL))
    camera_id = (await earlier.get_camera("a")).status.id
    eraser = RecordingEraser()
    spec = CameraSpec(name="a", url="rtsp://user:secret@host:554/street", gate=False, labels={"floor": "1"})

    later = await configured(shards, registry, spec, eraser)

    assert (await later.get_camera("a")).status.id == camera_id
    assert shards[0].assignments["a"].spec == spec
    assert shards[0].updated == ["a"]
    assert eraser.calls == []


async def test_another_source_in_the_configuration_is_another_camera_and_the_old_memory_is_deleted(
    shards, registry
) -> None:
    earlier = await configured(shards, registry, CameraSpec(name="a", url=URL))
    before = (await earlier.get_camera("a")).status.id
    eraser = RecordingEraser()

    later = await configured(shards, registry, CameraSpec(name="a", url="rtsp://host/yard"), eraser)

    after = (await later.get_camera("a")).status.id
    assert after != before
    assert eraser.calls == [("fence", before), ("delete", before)]
    assert [assignment.id for shard in shards for assignment in shard.assignments.values()] == [after]


async def test_a_camera_under_the_name_of_a_removed_one_is_another_camera(fleet, shards) -> None:
    before = (await fleet.add_camera(camera_spec("a"))).status.id
    await fleet.remove_camera("a")

    after = (await fleet.add_camera(camera_spec("a"))).status.id

    assert after != before
    assert shards[0].assignments["a"].id == after


async def test_an_update_changes_the_spec_and_keeps_the_camera_for_every_fleet(shards, registry) -> None:
    fleet, other = (scripted_fleet(*shards, registry=registry, is_leader=lambda: True) for _ in range(2))
    camera_id = (await fleet.add_camera(CameraSpec(name="a", url=URL))).status.id
    await other.reconcile()
    spec = CameraSpec(name="a", url="rtsp://user:new@host/street", gate=False)

    view = await update(fleet, spec)
    await other.reconcile()

    assert (view.status.id, view.spec, view.status.revision) == (camera_id, spec, 1)
    assert shards[0].assignments["a"].spec == spec
    assert (await other.get_camera("a")).spec == spec


async def test_a_shard_that_is_away_during_an_update_takes_it_over_later(fleet, shards) -> None:
    await fleet.add_camera(CameraSpec(name="a", url=URL))
    spec = CameraSpec(name="a", url=URL, gate=False)
    shards[0].is_down = True
    await update(fleet, spec)
    assert shards[0].assignments["a"].spec != spec

    shards[0].is_down = False
    await fleet.reconcile()

    assert shards[0].assignments["a"].spec == spec


async def test_an_update_to_another_source_needs_permission_and_is_another_camera(shards) -> None:
    eraser = RecordingEraser()
    fleet = scripted_fleet(*shards, eraser=eraser.seam)
    before = (await fleet.add_camera(CameraSpec(name="a", url=URL))).status.id
    spec = CameraSpec(name="a", url="rtsp://host/yard")
    with pytest.raises(SourceChanged, match="'a': the new URL is another source"):
        await update(fleet, spec)
    assert (await fleet.get_camera("a")).status.id == before

    view = await update(fleet, spec, allow_memory_loss=True)
    await fleet.reconcile()

    assert view.status.id != before
    assert eraser.calls == [("fence", before), ("delete", before)]


@pytest.mark.parametrize(
    ("spec", "error"),
    [(camera_spec("b"), UnknownCamera), (camera_spec("a", "ftp://host/x"), InvalidCamera)],
)
async def test_an_update_of_no_camera_or_to_no_url_changes_nothing(fleet, spec, error) -> None:
    await fleet.add_camera(camera_spec("a"))

    with pytest.raises(error):
        await update(fleet, spec)

    assert (await fleet.get_camera("a")).spec == camera_spec("a")


async def test_erasing_a_memory_leaves_the_camera_on_its_shard(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))

    view = await fleet.erase_memory("a")

    assert shards[0].forgotten == ["a"]
    assert view.status.id == shards[0].assignments["a"].id


async def test_the_memory_of_a_camera_that_is_not_restored_yet_cannot_be_erased_now(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()

    with pytest.raises(CameraRecovering, match="its memory can be erased once it is restored"):
        await fleet.erase_memory("a")


async def test_an_update_that_another_fleet_makes_at_the_same_moment_is_not_lost(shards, registry) -> None:
    fleet = scripted_fleet(*shards, registry=registry)
    await fleet.add_camera(CameraSpec(name="a", url=URL))
    other = scripted_fleet(*shards, registry=registry)
    await other.reconcile()
    await update(other, CameraSpec(name="a", url=URL, gate=False))

    spec = replace((await fleet.get_camera("a")).spec, labels={"floor": "1"})
    await update(fleet, spec)

    assert (await fleet.get_camera("a")).status.revision == 2
