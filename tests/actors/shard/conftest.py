"""A film, a store in memory, and shards that run during a block."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ShardsConfig
from actors.shard import shard_device
from actors.shard.camera_shard import CameraShard
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from models.vision_language_model import VideoLanguageModel
from pipeline.decoding import video_writer
from pipeline.device.device_config import DeviceConfig, WhenFull
from pipeline.sources.frame_clock import SteadyClock
from tests.actors.shard.shards import FRAMES_SAMPLED, USUAL_LEASE, Running, UnreliableStore
from tests.pipeline.playing import QUICK


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of 24 s."""
    generator = np.random.default_rng(0)
    pictures = (generator.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(FRAMES_SAMPLED))
    path = tmp_path_factory.mktemp("films") / "film"
    video_writer.write_video(pictures, path, fps=2, codec="mjpeg")
    return str(path)


@pytest.fixture
def checkpoints() -> UnreliableStore:
    return UnreliableStore()


@pytest.fixture
def running(model: LlavaOnevision, checkpoints: UnreliableStore) -> Running:
    @asynccontextmanager
    async def run(
        *,
        every_s: float = 3_600.0,
        max_cameras: int = 2,
        max_ingest_share: float = 1.0,
        when_full: WhenFull = WhenFull.LOWER_RATES,
        workers: int = 0,
        lease: LeaseConfig = USUAL_LEASE,
        on_retired: Callable[[], None] = lambda: None,
        model: VideoLanguageModel = model,
        clock: Callable[[], float] = time.time,
        wall: Callable[[], float] | None = None,
    ) -> AsyncIterator[CameraShard]:
        """when_full: by default no camera is refused, whatever a frame takes on a busy machine.

        clock: the shard's own. wall: that of its machine, for the shard and its feeds; without workers only."""
        settings = HermesConfig(
            memory=MemoryConfig(tokens_per_layer=128, recent_frames=4),
            ingest=replace(QUICK, workers=workers),
            shards=ShardsConfig(
                checkpoint_every_s=every_s,
                lease=lease,
                device=DeviceConfig(
                    max_cameras=max_cameras,
                    max_answer_tokens=8,
                    max_ingest_share=max_ingest_share,
                    when_full=when_full,
                ),
            ),
        )
        device = shard_device.of_model(model, settings.for_shards(), clock=wall or time.time)
        if wall is not None:
            device = replace(device, open_feed=partial(device.open_feed, clock=SteadyClock(wall)))
        shard = CameraShard(
            device,
            settings.for_shards(),
            checkpoints,
            checkpoints.leases,
            on_retired=on_retired,
            clock=wall or clock,
        )
        try:
            yield shard
        finally:
            await shard.close()

    return run
