"""Host and GPU wait for each other no more than they must. `benchmarks.gpu` runs it too, where little is installed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.on_device import answering, full_memories, plain_models, serving_load
from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from ops import transfer
from ops.device_timer import DeviceTimer
from ops.side_streams import SideStreams
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.device.engine_parts import EngineParts
from pipeline.device.snapshot_transfer import SideTransfer
from pipeline.sources.clips import Clip

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]
TIMEOUT_S = 60.0
CUDA = torch.device("cuda", 0)
NAMES = [plain_models.TINY, plain_models.TINY_QWEN]


@contextmanager
def synchronising(mode: str) -> Iterator[list[str]]:
    """What torch says of each wait for the GPU. mode: warn, or error to refuse them."""
    said = list[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode(mode)
        try:
            yield said
        finally:
            torch.cuda.set_sync_debug_mode("default")
    said += [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]


def new_writer(model: VideoLanguageModel, tokens_per_layer: int = 1_000) -> MemoryWriter:
    config = MemoryConfig(tokens_per_layer=tokens_per_layer)
    return MemoryWriter(model, config, max_frames=4, reserve=answering.RESERVE)


def append(writer: MemoryWriter, memories: list[Memory], frames: Tensor) -> None:
    times_s = [full_memories.times_s(writer.model, memory, frames.shape[1]) for memory in memories]
    writer.append(memories, frames, times_s)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_frames_of_several_cameras_waits_for_the_gpu_once(name: str) -> None:
    writer = new_writer(plain_models.load(name, CUDA))
    memories = full_memories.empty(writer, 3)
    frames = full_memories.noise_frames(writer.model, 3, 4)
    append(writer, memories, frames)  # what is made once

    with synchronising("warn") as waits:
        append(writer, memories, frames)

    assert len(waits) == 1, waits


@pytest.mark.parametrize("name", NAMES)
def test_frames_by_way_of_pinned_memory_make_the_same_memories(name: str) -> None:
    writer = new_writer(plain_models.load(name, CUDA), tokens_per_layer=256)
    frames = full_memories.noise_frames(writer.model, 2, 48)
    pinned, plain = full_memories.empty(writer, 2), full_memories.empty(writer, 2)
    for first in range(0, 48, 4):
        append(writer, pinned, frames[:, first : first + 4])
        append(writer, plain, frames[:, first : first + 4].to(CUDA))

    assert pinned[0].compactions > 0
    for mine, other in zip(pinned, plain, strict=True):
        for left, right in zip(checkpoint_codec.capture(mine), checkpoint_codec.capture(other), strict=True):
            assert all(
                torch.equal(ours, theirs)
                for (_, _, ours), (_, _, theirs) in zip(left.tensors(), right.tensors(), strict=True)
            )


def test_a_timer_takes_the_time_of_the_device_without_that_of_earlier_work() -> None:
    """A job that only launches its work is timed as long as the device is at it."""
    torch.cuda._sleep(800_000_000)
    with synchronising("error"):
        timer = DeviceTimer(CUDA)
        torch.cuda._sleep(200_000_000)
        timer.stop()
        later = DeviceTimer(CUDA)
        later.stop()

    assert 0.05 < timer.seconds < 0.3
    assert later.seconds < 0.01


def test_pinned_memory_may_be_freed_before_its_copy_is_done() -> None:
    """torch keeps it until then."""
    torch.cuda._sleep(200_000_000)
    parts = [torch.full((1 << 20,), number, dtype=torch.uint8) for number in range(8)]
    with synchronising("error"):
        copies = [transfer.to_device(part, CUDA) for part in parts]
        together = transfer.concat_to_device(parts, CUDA)

    assert torch.equal(together.cpu(), torch.cat(parts))
    assert all(torch.equal(copy.cpu(), part) for copy, part in zip(copies, parts, strict=True))


def test_a_memory_is_taken_without_a_wait_and_comes_as_it_was_then() -> None:
    writer = new_writer(plain_models.load(plain_models.TINY, CUDA), tokens_per_layer=256)
    memory = full_memories.full(writer, 1)[0]
    streams, before = SideStreams([CUDA]), memory.layer(0).keys[:, memory.prefix_length :].clone().cpu()

    with synchronising("error"):
        taken = checkpoint_codec.capture(memory)[0].keys
        streams.wait_for_current()
        memory.layer(0).keys.zero_()
    copied = streams.to_host(taken)

    assert torch.equal(copied, before)
    assert not copied.is_pinned()


class HeldStreams(SideStreams):
    """Copies wait for `go_on`."""

    def __init__(self) -> None:
        super().__init__([CUDA])
        self.go_on = threading.Event()

    def to_host(self, tensor: Tensor) -> Tensor:
        assert self.go_on.wait(TIMEOUT_S)
        return super().to_host(tensor)


def put(engine: Engine, model: VideoLanguageModel, number: int, *, first_s: float) -> None:
    """Ingests clips and waits until they are in the memory."""
    street = full_memories.street(model, 4 * number).numpy()
    preview = np.zeros((9, 16, 3), np.uint8)
    for first in range(0, 4 * number, 4):
        times_s = tuple(first_s + (first + frame) / 2 for frame in range(4))
        engine.clips.put(Clip("lobby", street[first : first + 4], times_s, (preview,) * 4, times_s[-1]))
        while engine.clips.has_clips():
            engine.command("nothing", lambda: None).result(TIMEOUT_S)
    engine.command("nothing", lambda: None).result(TIMEOUT_S)


def test_a_snapshot_taken_while_ingest_goes_on_equals_one_taken_in_stillness() -> None:
    """Its copy waits until there were more frames, compactions and an answer: the device thread does not."""
    model, streams = plain_models.load(plain_models.TINY, CUDA), HeldStreams()
    parts = EngineParts(snapshots=lambda _, on_room, *, report: SideTransfer(streams, on_room, report=report))
    config = DeviceConfig(max_cameras=1, max_frames_per_step=4)
    engine = Engine(model, MemoryConfig(tokens_per_layer=256), config, parts=parts)
    engine.start()
    engine.add_camera("lobby")
    put(engine, model, 12, first_s=0.0)
    streams.go_on.set()
    still = engine.snapshot("lobby").result(TIMEOUT_S)
    streams.go_on.clear()

    taken = engine.snapshot("lobby")
    while not taken.running():
        engine.command("nothing", lambda: None).result(TIMEOUT_S)
    put(engine, model, 12, first_s=24.0)
    listener = serving_load.Listener()
    engine.ask("lobby", "what is in view", listener.on_event)
    listener.done()
    assert not taken.done()
    streams.go_on.set()

    assert_equal(taken.result(TIMEOUT_S), still)
    engine.close()


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    for left, right in zip(one.layers, other.layers, strict=True):
        for (_, _, mine), (_, _, theirs) in zip(left.tensors(), right.tensors(), strict=True):
            assert mine.device.type == "cpu"
            assert torch.equal(mine, theirs)
    assert one.thumbnails == other.thumbnails
    assert one.content == other.content
