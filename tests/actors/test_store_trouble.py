"""A shard on a real store that fails: it still watches and answers, logs the failure once, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ShardsConfig
from actors.errors import OwnershipUnproven
from actors.shard import shard_device
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import Assignment
from cache_store.leases import UNOWNED_EXPIRY
from cache_store.manifest import Manifest
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.answers import Done
from pipeline.cameras import CameraSpec
from pipeline.memory_status import MemoryStatus
from pipeline.sources.ingest_config import IngestConfig
from tests import servers
from tests.actors.waiting import until
from tests.faulty_proxy import Fault, FaultyProxy
from tests.servers import VALKEY, Server

pytestmark = pytest.mark.redis

EVERY_S = 0.3
LEASE = LeaseConfig(length_s=6.0, margin_s=0.5)  # longer than a busy machine lets a renewal wait


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with servers.running(VALKEY, tmp_path) as started:
        yield started


@asynccontextmanager
async def watching(model: LlavaOnevision, url: str) -> AsyncIterator[CameraShard]:
    """A shard with the camera `yard` and its first checkpoint."""
    settings = HermesConfig(
        memory=MemoryConfig(tokens_per_layer=128, recent_frames=4),
        ingest=IngestConfig(sample_fps=8.0, workers=0),
        shards=ShardsConfig(checkpoint_every_s=EVERY_S, lease=LEASE),
    )
    checkpoints, leases = RedisCheckpointStore(url), RedisLeases(url)
    shard = CameraShard(shard_device.of_model(model, settings.for_shards()), settings.for_shards(), checkpoints, leases)
    try:
        spec = CameraSpec(name="yard", url="sim:yard?seed=3")
        await shard.add_camera(Assignment(id="yard", spec=spec, started_s=time.time(), expiry=UNOWNED_EXPIRY))

        async def is_saved() -> bool:
            return (await memory_of(shard)).checkpointed_s is not None and (await memory_of(shard)).compactions > 0

        await until(is_saved)
        yield shard
    finally:
        await shard.close()
        await leases.close()


async def memory_of(shard: CameraShard) -> MemoryStatus:
    return (await shard.status()).cameras[0].memory


async def wait_for_frames(shard: CameraShard, frames: int = 4) -> None:
    """Waits until the memory has seen this many more frames."""
    before = (await memory_of(shard)).frames_seen

    async def has_frames() -> bool:
        return (await memory_of(shard)).frames_seen >= before + frames

    await until(has_frames)


async def answer(shard: CameraShard) -> str:
    events = [event async for event in shard.ask("yard", "what is in view")]
    assert isinstance(events[-1], Done)
    return events[-1].answer


async def test_a_full_store_stops_neither_ingest_nor_answers_and_is_logged_once(
    model: LlavaOnevision, server: Server
) -> None:
    async with watching(model, server.url) as shard:
        with server.client() as client, capture_logs() as lines:
            client.config_set("maxmemory", "1")
            before = client.lindex("hermes:{yard}:manifests", 0)
            await until(lambda: any(line["event"] == "checkpoint_overdue" for line in lines))
            await wait_for_frames(shard)
            assert await answer(shard)
            assert client.exists(*chunk_keys(before)) == len(chunk_keys(before))

            client.config_set("maxmemory", "0")
            await until(lambda: any(line["event"] == "checkpoint_saved_again" for line in lines))
            assert client.lindex("hermes:{yard}:manifests", 0) != before

    events = [line["event"] for line in lines if line["event"].startswith(("checkpoint", "lease"))]
    assert events == ["checkpoint_failed", "checkpoint_overdue", "checkpoint_saved_again"]
    assert "OutOfMemory" in next(line["reason"] for line in lines if line["event"] == "checkpoint_failed")


async def test_a_store_that_does_not_answer_stops_answers_until_ownership_is_proven_again(
    model: LlavaOnevision, server: Server
) -> None:
    async with FaultyProxy(server.port).open() as proxy, watching(model, proxy.url) as shard:
        epoch = (await shard.status()).cameras[0].epoch
        proxy.fault = Fault(is_half_open=True)

        async def is_refused() -> bool:
            try:
                await answer(shard)
            except OwnershipUnproven:
                return True
            return False

        await until(is_refused)
        await wait_for_frames(shard)
        proxy.fault = Fault()

        async def is_answered() -> bool:
            return not await is_refused()

        await until(is_answered)
        assert (await shard.status()).cameras[0].epoch == epoch


def chunk_keys(manifest: bytes) -> list[str]:
    return [chunk.key for chunk in Manifest.from_text(manifest).chunks]
