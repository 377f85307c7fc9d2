"""What a shard works with: the engine of its device, and the feeds of its cameras."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from actors.config.schema import ShardSettings
from models import catalogue, policy_choice
from models.vision_language_model import VideoLanguageModel
from pipeline.cameras import CameraSpec
from pipeline.decoding import dali
from pipeline.device.engine import Engine
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import STOP_TIMEOUT_S, CameraFeed
from pipeline.sources.feed_output import OnState
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.pool import WorkerPool
from pipeline.workers.segment_decoding import SegmentDecoding

_MIN_AUTO_WORKERS, _MAX_AUTO_WORKERS = 2, 4

log = structlog.get_logger(__name__)


class Feed(Protocol):
    """A camera's source as clips: a CameraFeed."""

    def start(self) -> None: ...

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None: ...

    def request_stop(self) -> None: ...

    def limit_rate(self, share: float) -> None: ...


class FeedFactory(Protocol):
    """Makes a feed that puts a camera's clips into the queue; see CameraFeed."""

    def __call__(
        self,
        spec: CameraSpec,
        config: IngestConfig,
        *,
        clips: ClipQueue,
        on_state: OnState,
        camera_id: str,
        resume_from_s: float | None,
        started_s: float,
    ) -> Feed: ...


@dataclass(frozen=True, slots=True)
class ShardDevice:
    """An engine that is not started yet, and how a feed is made for it.

    fingerprints: of the checkpoints that it can restore; limitation: why the model's answers about real cameras may be
    wrong, None if it is made for them; domain: what the model knows alone then; close_feeds: ends what the feeds share,
    once all of them have ended.
    """

    engine: Engine
    open_feed: FeedFactory
    fingerprints: tuple[str, ...]
    limitation: str | None = None
    domain: str | None = None
    close_feeds: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Ends the engine and what the feeds share; blocks."""
        self.close_feeds()
        self.engine.close()


def of_model(
    model: VideoLanguageModel, settings: ShardSettings, *, clock: Callable[[], float] = time.time
) -> ShardDevice:
    """The device that a model is loaded on.

    Raises ModelError, MemoryError or RuntimeError if the slots do not fit, or if the GPU that shall decode is missing.
    """
    choice = policy_choice.choose(settings.memory.policy, model)
    log.info("policy_chosen", model=model.spec.name, policy=str(choice.policy), evidence=choice.evidence)
    engine = Engine(model, settings.memory, settings.shards.device, clock=clock, report=_report_failure)
    ingest = settings.ingest
    open_feed: FeedFactory = partial(CameraFeed, fit=model.spec.layout.frame_fit, choose_decoder=dali.decoder_for)
    pool: WorkerPool | None = None
    if num_workers := _num_workers(ingest):
        gpu = dali.gpu_capability(ingest.device)
        decoding = SegmentDecoding(gpu, dali.file_decoder, prepare_thread=dali.use_side_stream) if gpu else None
        fit = model.spec.layout.frame_fit
        pool = WorkerPool(fit, num_workers, ingest.readable_paths, decoding=decoding)
        open_feed = pool.open
    return ShardDevice(
        engine=engine,
        open_feed=open_feed,
        close_feeds=pool.close if pool else lambda: None,
        fingerprints=(model.spec.fingerprint, model.spec.previous_fingerprint),
        limitation=catalogue.limitation(model.spec.name),
        domain=catalogue.domain(model.spec.name),
    )


def _report_failure(event: str, **fields: object) -> None:
    log.error(event, **fields)  # looked up at each call: what the log adds to a line is set once the cameras are known


def _num_workers(ingest: IngestConfig) -> int:
    """0: the feeds are threads of this process."""
    if ingest.workers != "auto":
        return ingest.workers
    return min(_MAX_AUTO_WORKERS, max(_MIN_AUTO_WORKERS, len(os.sched_getaffinity(0)) // 4))
