"""A whole shard on a real store that refuses: it goes on watching and answering, says so once, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors.config.schema import HermesConfig, LeaseConfig, ShardsConfig
from actors.errors import OwnershipUnproven
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import Assignment
from cache_store import store
from cache_store.leases import OWN_LEASE
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.answers import Done, QuestionError
from pipeline.cameras import CameraSpec, MemoryStatus
from tests import servers
from tests.actors.waiting import until
from tests.faulty_proxy import Fault, FaultyProxy
from tests.servers import VALKEY, Server

pytestmark = pytest.mark.redis

EVERY_S = 0.3
LEASE = LeaseConfig(length_s=3.0, margin_s=0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with servers.running(VALKEY, tmp_path) as started:
        yield started


@asynccontextmanager
async def watching(model: LlavaOnevision, url: str) -> AsyncIterator[CameraShard]:
    """A shard with the camera `yard`, which has a checkpoint by now."""
    settings = HermesConfig(
        memory=MemoryConfig(tokens_per_layer=128, recent_frames=4),
        shards=ShardsConfig(checkpoint_every_s=EVERY_S, lease=LEASE),
    )
    kept, leases = RedisCheckpointStore(url), RedisLeases(url)
    held = CameraShard(model, settings, kept, leases)
    try:
        spec = CameraSpec(name="yard", url="sim:yard?seed=3")
        await held.add_camera(Assignment(spec=spec, started_s=time.time(), expiry=OWN_LEASE))

        async def is_saved() -> bool:
            return (await memory_of(held)).checkpointed_s is not None and (await memory_of(held)).compressions > 0

        await until(is_saved)
        yield held
    finally:
        await held.close()
        await leases.close()


async def memory_of(held: CameraShard) -> MemoryStatus:
    return (await held.status()).cameras[0].memory


async def sees_more(held: CameraShard, frames: int = 4) -> None:
    """Returns when so many more frames are in the memory."""
    seen = (await memory_of(held)).frames_seen

    async def is_so() -> bool:
        return (await memory_of(held)).frames_seen >= seen + frames

    await until(is_so)


async def answer(held: CameraShard) -> str:
    events = [event async for event in held.ask("yard", "what is in view")]
    assert isinstance(events[-1], Done)
    return events[-1].answer


async def test_a_full_store_stops_neither_ingest_nor_answers_and_is_an_alarm_once(
    model: LlavaOnevision, server: Server
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
    model: LlavaOnevision, server: Server
) -> None:
    async with FaultyProxy(server.port).open() as way, watching(model, way.url) as held:
        epoch = (await held.status()).cameras[0].epoch
        way.fault = Fault(is_half_open=True)
        await sees_more(held, frames=8)

        way.fault = Fault()

        async def is_answered() -> bool:
            try:
                return bool(await answer(held))
            except (QuestionError, OwnershipUnproven):
                return False

        await until(is_answered)
        assert (await held.status()).cameras[0].epoch == epoch


def chunk_keys(manifest: bytes) -> list[str]:
    return [chunk.key for chunk in store.read_manifest(manifest).chunks]
