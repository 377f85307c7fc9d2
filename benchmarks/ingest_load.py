"""What questions wait for while one shard ingests many cameras, with ingest in threads and in workers.

Part of benchmarks.ingest. The cameras are looped recordings at their own speed. Idle is the same shard with full
memories once its cameras have ended.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from actors.config.schema import HermesConfig
from actors.shard import shard_device
from actors.shard.shard_device import Feed, ShardDevice
from benchmarks import ingest_workers
from benchmarks.on_device.serving_load import QUESTIONS, Listener
from models.vision_language_model import VideoLanguageModel
from pipeline.cameras import CameraSpec, CameraState

_SAMPLE_FPS = 1.0
_FIRST_FRAMES = 4  # of each camera, before anything is measured
_PAUSE_S = 0.1  # between two questions


@dataclass(frozen=True, slots=True)
class Load:
    """One setting. freshness: the age of a camera's newest frame in the memory when a question is asked."""

    workers: int
    cameras: int
    ttft_idle_p50_ms: float
    ttft_ingesting_p50_ms: float
    ttft_ingesting_p99_ms: float
    ttft_ingesting_over_idle: float
    freshness_p95_s: float
    frames_dropped: int
    cameras_per_core: float


def measure(model: VideoLanguageModel, video: Path, workers: int, cameras: int, seconds: float) -> Load:
    """Runs the cameras for so many seconds, asks them meanwhile, ends them, and asks again."""
    names = [f"camera-{number}" for number in range(cameras)]
    with _shard(model, video, workers, names) as (device, feeds):
        _await_frames(device, names)
        began_s, spent_s = time.monotonic(), ingest_workers.spent_s()
        busy_ms, ages_s = _ask(device, names, seconds)
        spent_s = ingest_workers.spent_s() - spent_s
        taken_s = time.monotonic() - began_s
        dropped = sum(device.engine.status(name).frames_dropped for name in names)
        for feed in feeds:
            feed.request_stop()
        for feed in feeds:
            feed.stop(10)
        idle_ms, _ = _ask(device, names, seconds / 3)
    idle_p50 = statistics.median(idle_ms)
    return Load(
        workers=workers,
        cameras=cameras,
        ttft_idle_p50_ms=round(idle_p50, 1),
        ttft_ingesting_p50_ms=round(statistics.median(busy_ms), 1),
        ttft_ingesting_p99_ms=round(_quantile(busy_ms, 99), 1),
        ttft_ingesting_over_idle=round(_quantile(busy_ms, 99) / idle_p50, 2),
        freshness_p95_s=round(_quantile(ages_s, 95), 2),
        frames_dropped=dropped,
        cameras_per_core=round(cameras * taken_s / spent_s, 1),
    )


def table(loads: Sequence[Load]) -> str:
    """The figures as Markdown."""
    lines = [
        "| ingest in | cameras | TTFT idle p50 | ingesting p50 | p99 | over idle | freshness p95 | dropped "
        "| cameras for each core, with questions |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {f'{load.workers} workers' if load.workers else 'threads'} | {load.cameras} | {load.ttft_idle_p50_ms} ms "
        f"| {load.ttft_ingesting_p50_ms} ms | {load.ttft_ingesting_p99_ms} ms | {load.ttft_ingesting_over_idle} "
        f"| {load.freshness_p95_s} s | {load.frames_dropped} | {load.cameras_per_core} |"
        for load in loads
    ]
    return "\n".join(lines)


@contextmanager
def _shard(
    model: VideoLanguageModel, video: Path, workers: int, names: Sequence[str]
) -> Iterator[tuple[ShardDevice, list[Feed]]]:
    config = HermesConfig()
    ingest = replace(
        config.ingest, sample_fps=_SAMPLE_FPS, device="cpu", workers=workers, video_folders=(video.parent,)
    )
    settings = replace(config, ingest=ingest).for_shards()
    device = shard_device.of_model(model, settings)
    device.engine.start()
    feeds: list[Feed] = []
    try:
        for name in names:
            device.engine.add_camera(name)
            feeds.append(
                device.open_feed(
                    CameraSpec(name=name, url=str(video), loop=True),
                    settings.ingest,
                    clips=device.engine.clips,
                    on_state=_require_live,
                    camera_id=name,
                    resume_from_s=None,
                    started_s=time.time(),
                )
            )
            feeds[-1].start()
        yield device, feeds
    finally:
        for feed in feeds:
            feed.request_stop()
        device.close_feeds()
        device.engine.close()


def _require_live(state: CameraState, detail: str, _reason: object, _note: object) -> None:
    assert state in (CameraState.CONNECTING, CameraState.LIVE), f"{state}: {detail}"


def _await_frames(device: ShardDevice, names: Sequence[str]) -> None:
    while any(device.engine.status(name).frames_seen < _FIRST_FRAMES for name in names):
        threading.Event().wait(0.1)


def _ask(device: ShardDevice, names: Sequence[str], seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds to the first token, and ages of newest frames in seconds."""
    waits_ms, ages_s = [], []
    end_s, number = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        name = names[number % len(names)]
        newest_s = device.engine.status(name).newest_s
        assert newest_s is not None
        ages_s.append(time.time() - newest_s)
        listener = Listener()
        device.engine.ask(name, QUESTIONS[number % len(QUESTIONS)], listener.on_event, max_answer_tokens=1)
        waits_ms.append(listener.done().time_to_first_token_ms)
        number += 1
        time.sleep(_PAUSE_S)
    return waits_ms, ages_s


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]
