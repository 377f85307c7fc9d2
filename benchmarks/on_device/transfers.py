"""What goes between host and device beside the work: frames, and snapshots of memories."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from benchmarks.on_device import checkpoints, full_memories, pairs
from benchmarks.on_device.pairs import Pair
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from models.vision_language_model import VideoLanguageModel
from ops import transfer
from pipeline.device.failure_report import to_logging
from pipeline.device.snapshot_transfer import DirectTransfer, SnapshotTransfer, transfer_for

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SnapshotTimes:
    """Medians. on_thread_s: how long the device thread is busy with one. until_there_s: until it is on the host."""

    on_thread_s: float
    until_there_s: float


def frames(model: VideoLanguageModel, cameras: int, num_frames: int, *, rounds: int) -> Pair:
    """A step of frames of several cameras on its way to the device; the other way is from ordinary memory."""
    steps = list(full_memories.noise_frames(model, cameras, num_frames))
    device = model.spec.device
    return pairs.measure(
        lambda: transfer.concat_to_device(steps, device), lambda: torch.cat(steps).to(device), rounds=rounds
    )


def snapshots(model: VideoLanguageModel, memory: Memory, *, rounds: int) -> dict[str, SnapshotTimes]:
    """Of a whole memory: as the engine takes one on this device, and copied to the host by the device thread."""
    ways = {"": transfer_for(model.spec.kv, lambda: None, report=to_logging), ", direct": DirectTransfer()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = _seconds(way, memory)
            if number:
                times[name].append(seconds)
    return {
        name: SnapshotTimes(*(statistics.median(column) for column in zip(*timed, strict=True)))
        for name, timed in times.items()
    }


def _seconds(way: SnapshotTransfer, memory: Memory) -> tuple[float, float]:
    future: Future[Checkpoint] = Future()
    future.set_running_or_notify_cancel()
    pairs.synchronise()
    began_s = time.perf_counter()
    way.deliver("a snapshot", future, checkpoints.whole(memory))
    on_thread_s = time.perf_counter() - began_s
    future.result(_TIMEOUT_S)
    return on_thread_s, time.perf_counter() - began_s
