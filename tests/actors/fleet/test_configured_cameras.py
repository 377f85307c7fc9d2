"""Of two servers whose files differ, only one that has a right to it ends cameras that the other one names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from actors.fleet.configured_cameras import ConfiguredCameras, Precedence, has_same_source
from actors.fleet.fleet import Fleet
from actors.fleet.registry import InMemoryRegistry, RegistryEntry
from actors.shard.interface import Assignment
from pipeline.cameras import CameraSpec, CameraState
from tests.actors.scripted import RecordingEraser, camera_spec, scripted_fleet

URL = "rtsp://host/street"


@pytest.fixture
def registry() -> InMemoryRegistry:
    return InMemoryRegistry()


async def names(fleet: Fleet) -> dict[str, str]:
    return {view.spec.name: view.spec.url for view in await fleet.list_cameras()}


async def test_a_file_of_the_same_version_ends_no_camera_of_another_server_and_says_so_once(shards, registry) -> None:
    """It used to delete them, with their memories, when its server started."""
    one = scripted_fleet(*shards, registry=registry)
    one.configure([camera_spec("a"), camera_spec("b"), camera_spec("yard", "sim:old")])
    await one.reconcile()
    eraser = RecordingEraser()
    other = scripted_fleet(*shards, registry=registry, eraser=eraser.seam)
    other.configure([camera_spec("c"), camera_spec("yard", "sim:new")], lambda: Precedence.SAME)

    with capture_logs() as logs:
        for _ in range(3):
            await other.reconcile()

    assert await names(other) == {"a": "sim:street", "b": "sim:street", "c": "sim:street", "yard": "sim:old"}
    assert eraser.calls == []
    warnings = [log for log in logs if log["event"] == "configuration_not_applied"]
    assert [log["cameras"] for log in warnings] == ["a, b, yard"]
    assert "raise shards.settings_version" in warnings[0]["reason"]
    assert "hermes cameras remove NAME" in warnings[0]["reason"]


async def test_a_file_of_a_higher_version_ends_what_it_does_not_name_and_an_older_one_brings_nothing_back(
    shards, registry
) -> None:
    one = scripted_fleet(*shards, registry=registry)
    one.configure([camera_spec("a"), camera_spec("b")])
    await one.reconcile()
    newer = scripted_fleet(*shards, registry=registry)
    newer.configure([camera_spec("b")], lambda: Precedence.NEWEST)
    await newer.reconcile()
    assert await names(newer) == {"b": "sim:street"}

    older = scripted_fleet(*shards, registry=registry)
    older.configure([camera_spec("a"), camera_spec("b", "sim:yard")], lambda: Precedence.OUTDATED)
    with capture_logs() as logs:
        await older.reconcile()

    assert await names(older) == {"b": "sim:street"}
    assert [log["cameras"] for log in logs if log["event"] == "configuration_not_applied"] == ["a, b"]


async def test_a_file_becomes_the_truth_once_the_server_that_led_before_has_ended(shards, registry) -> None:
    """A server that was killed in a container before leads until its lease has run out."""
    one = scripted_fleet(*shards, registry=registry)
    one.configure([camera_spec("a"), camera_spec("b")])
    await one.reconcile()
    precedence = Precedence.FOLLOWING
    later = scripted_fleet(*shards, registry=registry)
    later.configure([camera_spec("b"), camera_spec("c")], lambda: precedence)
    await later.reconcile()
    assert list(await names(later)) == ["a", "b", "c"]

    precedence = Precedence.NEWEST
    await later.reconcile()
    assert list(await names(later)) == ["b", "c"]

    precedence = Precedence.FOLLOWING
    await one.add_camera(camera_spec("d"))
    await later.reconcile()
    assert list(await names(later)) == ["b", "c", "d"]


async def test_a_configured_camera_gets_the_id_under_which_a_shard_still_watches_it(shards, registry) -> None:
    """The store was emptied and every server restarted: the memory used to be dropped for one with a new id."""
    before = scripted_fleet(*shards, registry=registry)
    before.configure([CameraSpec(name="a", url=URL), CameraSpec(name="yard", url="rtsp://host/old")])
    await before.reconcile()
    camera_id = (await before.get_camera("a")).status.id
    shards[0].states["a"] = (CameraState.RECOVERING, "the store has no record of its owner")
    registry.forget_everything()
    eraser = RecordingEraser()

    spec = CameraSpec(name="a", url="rtsp://user:s3cond-pass@host/street", gate=False)
    later = scripted_fleet(*shards, registry=registry, eraser=eraser.seam, clock=lambda: 900.0)
    later.configure([spec, CameraSpec(name="yard", url="rtsp://host/new")])
    await later.reconcile()

    assert registry.entries["a"].id == camera_id
    assert later.started_s("a") == 500.0
    assert shards[0].assignments["a"] == replace(registry.entries["a"].assignment, min_epoch=0)
    assert shards[0].assignments["a"].spec == spec
    assert later.started_s("yard") == 900.0
    assert eraser.calls == []


@pytest.mark.parametrize("is_finished", [False, True])
async def test_a_removed_camera_that_a_shard_still_watches_does_not_come_back_by_a_file(
    shards, registry, is_finished
) -> None:
    before = scripted_fleet(*shards, registry=registry)
    await before.add_camera(CameraSpec(name="a", url=URL))
    camera_id = registry.entries["a"].id
    await registry.remove("a", camera_id)
    if is_finished:
        await registry.finish_removal(camera_id)

    later = scripted_fleet(*shards, registry=registry)
    later.configure([CameraSpec(name="a", url=URL)])
    await later.reconcile()

    assert registry.entries["a"].id != camera_id
    assert [assignment.id for assignment in shards[0].assignments.values()] == [registry.entries["a"].id]


async def test_a_camera_that_a_client_added_is_ended_by_no_file(shards, registry) -> None:
    one = scripted_fleet(*shards, registry=registry)
    await one.add_camera(camera_spec("a"))
    later = scripted_fleet(*shards, registry=registry)
    later.configure([])

    with capture_logs() as logs:
        await later.reconcile()

    assert list(await names(later)) == ["a"]
    assert not [log for log in logs if log["event"] == "configuration_not_applied"]


async def test_a_camera_whose_url_only_an_earlier_version_took_is_replaced_by_the_corrected_one(
    shards, registry
) -> None:
    one = scripted_fleet(*shards, registry=registry)
    one.configure([camera_spec("gate", " rtsp://host/street")])
    await one.reconcile()
    corrected = scripted_fleet(*shards, registry=registry)
    corrected.configure([camera_spec("gate", URL)], lambda: Precedence.NEWEST)

    await corrected.reconcile()

    assert (await names(corrected))["gate"] == URL


@pytest.mark.parametrize(
    ("stored", "escaped"),
    [
        ("rtsp://viewer:p@ss@host/street", "rtsp://viewer:p%40ss@host/street"),
        ("rtsp://viewer@corp:pass@host:554/street", "rtsp://viewer%40corp:pass@host/street"),
        ("rtsp://viewer:pass@host/street@2", "rtsp://viewer:pass@host/street%402"),
        ("http://host:8080/shot?mail=a@b", "http://host:8080/shot?mail=a%40b"),
    ],
)
def test_to_escape_a_url_that_an_earlier_version_took_keeps_the_memory(stored: str, escaped: str) -> None:
    present = RegistryEntry(
        Assignment(id="1", spec=CameraSpec(name="a", url=stored), started_s=0.0), is_configured=True
    )

    changes = ConfiguredCameras([CameraSpec(name="a", url=escaped)], lambda: Precedence.NEWEST).pending({"a": present})

    assert changes is not None
    assert [entry.assignment.id for entry in changes.update] == ["1"]
    assert changes.replace == ()


def test_a_url_that_no_version_took_is_another_source() -> None:
    one, other = (CameraSpec(name="a", url=f"rtsp://viewer:{password}@host/street") for password in ("p/w", "p%2Fw"))

    assert not has_same_source(one, other)
