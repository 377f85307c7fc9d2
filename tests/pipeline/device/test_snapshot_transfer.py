"""Snapshots on their way to the host: what the memory held at that moment, whatever the device does meanwhile."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from torch import Tensor

from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models.llava_onevision import LlavaOnevision
from pipeline.cameras import CameraFailed
from pipeline.device.engine import Engine
from pipeline.device.engine_parts import EngineParts
from pipeline.device.failure_report import to_logging
from pipeline.device.snapshot_transfer import DirectTransfer, SideTransfer, transfer_for
from tests.conftest import assert_same, random_frames
from tests.host_reads import META, HostReads
from tests.pipeline.device.engine_driver import CONFIG, MEMORY, TIMEOUT_S, ask, clip, ingest, settle, whole
from tests.pipeline.device.test_camera_memory import append, new_camera


class HeldStreams:
    """Copies on the host that wait for `go_on`, and fail with `error` if there is one."""

    def __init__(self) -> None:
        self.go_on, self.has_begun = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.num_waits = 0

    def wait_for_current(self) -> None:
        self.num_waits += 1

    def to_host(self, tensor: Tensor) -> Tensor:
        self.has_begun.set()
        assert self.go_on.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return tensor.clone()


@pytest.fixture
def streams() -> HeldStreams:
    return HeldStreams()


@pytest.fixture
def side(model: LlavaOnevision, streams: HeldStreams) -> Iterator[Engine]:
    """An engine whose snapshots take the way that they take from a GPU."""
    parts = EngineParts(snapshots=lambda _, on_room, *, report: SideTransfer(streams, on_room, report=report))
    engine = Engine(model, MEMORY, CONFIG, clock=lambda: 5_000.0, parts=parts)
    engine.start()
    engine.add_camera("lobby")
    ingest_clips(engine, 12)
    yield engine
    streams.go_on.set()
    engine.close()


def ingest_clips(engine: Engine, number: int, *, first_s: float = 1_000.0) -> None:
    """As `ingest`, which would take a snapshot of its own after each."""
    for index in range(number):
        engine.clips.put(clip("lobby", first_s + 2 * index, seed=index))
        settle(engine)


def contents(saved: Checkpoint) -> list[Tensor]:
    return [tensor for layer in saved.layers for _, _, tensor in layer.tensors()]


def still(model: LlavaOnevision, *, is_whole: bool) -> Checkpoint:
    """The snapshot of a device that does nothing else."""
    engine = Engine(model, MEMORY, CONFIG, clock=lambda: 5_000.0)
    assert isinstance(transfer_for(model.spec.kv, engine.close, report=to_logging), DirectTransfer)
    engine.start()
    engine.add_camera("lobby")
    ingest_clips(engine, 12)
    saved = engine.snapshot("lobby", is_whole=is_whole).result(TIMEOUT_S)
    engine.close()
    return saved


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_snapshot_taken_while_ingest_goes_on_equals_one_taken_in_stillness(
    side: Engine, streams: HeldStreams, model: LlavaOnevision, is_whole: bool
) -> None:
    taken = side.snapshot("lobby", is_whole=is_whole)
    assert streams.has_begun.wait(TIMEOUT_S)
    ingest_clips(side, 6, first_s=2_000.0)  # with compactions, while the copy waits
    answer = ask(side, "lobby", "what is in view").done()
    assert not taken.done()
    streams.go_on.set()

    saved, expected = taken.result(TIMEOUT_S), still(model, is_whole=is_whole)
    assert answer.answer_tokens
    assert_same(contents(saved), contents(expected))
    assert (saved.facts.newest_s, saved.thumbnails) == (expected.facts.newest_s, expected.thumbnails)
    assert saved.content == expected.content
    assert streams.num_waits == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("copy")])
def test_a_copy_that_fails_fails_its_snapshot_only(side: Engine, streams: HeldStreams, error: Exception) -> None:
    streams.error = error
    streams.go_on.set()
    with pytest.raises(CameraFailed, match=f"'lobby': copying it: the device failed: {type(error).__name__}"):
        side.snapshot("lobby").result(TIMEOUT_S)

    streams.error = None
    assert side.snapshot("lobby").result(TIMEOUT_S).facts.frames_seen == 48
    assert ask(side, "lobby", "what is in view").done()


def test_one_copy_at_a_time_takes_memory_of_the_device(side: Engine, streams: HeldStreams) -> None:
    """Background snapshots wait in line; the device thread copies a whole memory itself then."""
    first, second = side.snapshot("lobby"), side.snapshot("lobby")
    assert streams.has_begun.wait(TIMEOUT_S)

    moved = whole(side, "lobby")
    settle(side)

    assert moved.facts.newest_s == 1_023.5
    assert not second.running()
    assert not first.done()
    streams.go_on.set()
    assert_same(contents(first.result(TIMEOUT_S)), contents(second.result(TIMEOUT_S)))
    assert streams.num_waits == 2


def test_a_snapshot_that_was_given_up_meanwhile_leaves_room(side: Engine, streams: HeldStreams) -> None:
    given_up, next_one = side.snapshot("lobby"), side.snapshot("lobby")
    assert streams.has_begun.wait(TIMEOUT_S)
    assert not given_up.cancel()
    streams.go_on.set()

    assert next_one.result(TIMEOUT_S).facts.frames_seen == 48


def test_room_is_announced_when_it_is_there(model: LlavaOnevision, streams: HeldStreams) -> None:
    camera, room = new_camera(model), list[bool]()
    append(camera, random_frames(8), first_s=0.0)
    transfer = SideTransfer(streams, lambda: room.append(transfer.has_room), report=to_logging)
    future: Future[Checkpoint] = Future()
    future.set_running_or_notify_cancel()

    transfer.deliver("a copy", future, camera.snapshot(0, 0.0))

    assert not transfer.has_room
    streams.go_on.set()
    future.result(TIMEOUT_S)
    assert room == [True]


def test_on_a_cpu_a_snapshot_is_copied_once(engine: Engine, model: LlavaOnevision) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 2)
    taken = engine.command("snapshot", lambda: engine.cameras["lobby"].snapshot(0, 0.0, is_whole=True)).result(
        TIMEOUT_S
    )

    for before, after in zip(contents(taken), contents(checkpoint_codec.on_host(taken)), strict=True):
        assert after is before


@pytest.mark.parametrize(("first_recent_id", "num_reads"), [(None, 0), (1 << 33, 1)])
def test_a_memory_is_copied_without_a_wait_for_the_device(
    model: LlavaOnevision, first_recent_id: int | None, num_reads: int
) -> None:
    """But for the length of its recent window in each layer, where that is left out."""
    kv: Any = dataclasses.replace(model.spec.kv, device=META, devices=())
    memory = Memory(Slabs(kv, slots=2, capacity=64), 1)
    memory.rewind(dataclasses.replace(memory.extent, lengths=tuple(30 + layer for layer in range(memory.num_layers))))

    with HostReads() as reads:
        layers = checkpoint_codec.capture(memory, first_recent_id)

    assert reads.num_reads == num_reads
    assert [len(layer) for layer in layers] == memory.lengths
