"""A whole shard on a real store that refuses: it goes on watching and answering, says so once, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors import camera_shard, config, shard
from actors.errors import OwnershipUnproven
from cache_store import leases, redis_leases, redis_store, store, tiers
from models import llava_onevision
from pipeline import answers, cameras
from tests import faulty_way, servers
from tests.actors.waiting import until

pytestmark = pytest.mark.redis

EVERY_S = 0.3
LEASE = config.LeaseConfig(length_s=3.0, margin_s=0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.Server]:
    with servers.running(servers.VALKEY, tmp_path) as started:
        yield started


@asynccontextmanager
async def watching(model: llava_onevision.LlavaOnevision, url: str) -> AsyncIterator[camera_shard.CameraShard]:
    """A shard with the camera `yard`, which has a checkpoint by now."""
    settings = config.HermesConfig(
        memory=tiers.MemoryConfig(tokens_per_layer=128, recent_frames=4),
        shards=config.ShardsConfig(checkpoint_every_s=EVERY_S, lease=LEASE),
    )
    kept, granted_by = redis_store.RedisCheckpointStore(url), redis_leases.RedisLeases(url)
    held = camera_shard.CameraShard(model, settings, kept, granted_by)
    try:
        spec = cameras.CameraSpec(name="yard", url="sim:yard?seed=3")
        await held.add_camera(shard.Assignment(spec=spec, started_s=time.time(), gone=leases.MINE))

        async def is_saved() -> bool:
            return (await memory_of(held)).checkpointed_s is not None and (await memory_of(held)).compressions > 0

        await until(is_saved)
        yield held
    finally:
        await held.close()
        await granted_by.close()


async def memory_of(held: camera_shard.CameraShard) -> cameras.MemoryStatus:
    return (await held.status()).cameras[0].memory


async def sees_more(held: camera_shard.CameraShard, frames: int = 4) -> None:
    """Returns when so many more frames are in the memory."""
    seen = (await memory_of(held)).frames_seen

    async def is_so() -> bool:
        return (await memory_of(held)).frames_seen >= seen + frames

    await until(is_so)


async def answer(held: camera_shard.CameraShard) -> str:
    events = [event async for event in held.ask("yard", "what is in view")]
    assert isinstance(events[-1], answers.Done)
    return events[-1].answer


async def test_a_full_store_stops_neither_ingest_nor_answers_and_is_an_alarm_once(
    model: llava_onevision.LlavaOnevision, server: servers.Server
) -> None:
    async with watching(model, server.url) as held:
        with server.client() as client, capture_logs() as said:
            client.config_set("maxmemory", "1")
            before = client.lindex("hermes:{yard}:manifests", 0)
            await until(lambda: any(line["event"] == "checkpoint_overdue" for line in said))
            await sees_more(held)
            assert await answer(held)
            assert client.exists(*chunk_keys(before)) == len(chunk_keys(before))

            client.config_set("maxmemory", "0")
            await until(lambda: any(line["event"] == "checkpoint_saved_again" for line in said))
            assert client.lindex("hermes:{yard}:manifests", 0) != before

    events = [line["event"] for line in said if line["event"].startswith(("checkpoint", "lease"))]
    assert events == ["checkpoint_failed", "checkpoint_overdue", "checkpoint_saved_again"]
    assert "OutOfMemory" in next(line["reason"] for line in said if line["event"] == "checkpoint_failed")


async def test_a_store_that_answers_nothing_silences_what_cannot_be_proven_and_nothing_else(
    model: llava_onevision.LlavaOnevision, server: servers.Server
) -> None:
    async with faulty_way.FaultyWay(server.port).open() as way, watching(model, way.url) as held:
        epoch = (await held.status()).cameras[0].epoch
        way.fault = faulty_way.Fault(is_half_open=True)
        await sees_more(held, frames=8)

        way.fault = faulty_way.Fault()

        async def is_answered() -> bool:
            try:
                return bool(await answer(held))
            except (answers.QuestionError, OwnershipUnproven):
                return False

        await until(is_answered)
        assert (await held.status()).cameras[0].epoch == epoch


def chunk_keys(manifest: bytes) -> list[str]:
    return [chunk.key for chunk in store.read_manifest(manifest).chunks]
