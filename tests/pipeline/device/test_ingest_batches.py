"""Steps of several cameras are one pass; what fails hurts the frames of one camera, all others are as without it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_store.gap import Gap
from models.embeddings import Embeddings
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline.device.camera_slots import CameraSlots
from pipeline.device.change_gate import OpenGate
from pipeline.device.device_config import DeviceConfig
from pipeline.device.ingest import IngestRunner
from pipeline.device.scheduler import Turn, Work
from pipeline.sources.clip_queue import ClipQueue
from tests.conftest import TOKENS_PER_FRAME, assert_same, contents, grid, numbered
from tests.pipeline.device.engine_driver import MEMORY, clip
from tests.pipeline.device.faults import Faults

CAMERAS = ("yard", "lobby", "gate")
STEPS = 7  # each camera is compacted twice
FAILED = "the device failed at these frames"


class FailingWriter(MemoryWriter):
    """Counts its passes, and notes the slots of the newest.

    Runs out of memory at a pass with `out_of_memory`, and when it compacts `not_compacted`; reads NaN for `damaged`.
    Slots.
    """

    num_passes = 0
    newest_slots: tuple[int, ...] = ()
    out_of_memory: int | None = None
    damaged: int | None = None
    not_compacted: int | None = None

    def compact(self, memories: Any) -> None:
        if self.not_compacted in [memory.slot for memory in memories]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().compact(memories)

    def prefill_steps(self, memories: Any, steps: Any) -> None:
        self.num_passes += 1
        slots = [memory.slot for memory in memories]
        self.newest_slots = tuple(slots)
        if self.out_of_memory in slots:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.damaged in slots:
            one = steps[slots.index(self.damaged)]
            damaged = one.embeddings.map(lambda tokens: torch.full_like(tokens, torch.nan))
            steps[slots.index(self.damaged)] = dataclasses.replace(one, embeddings=damaged)
        super().prefill_steps(memories, steps)


class Device:
    """The frames of some cameras on a device without a thread. Camera n of `CAMERAS` has slot n if all are there."""

    def __init__(self, model: LlavaOnevision, cameras: tuple[str, ...]) -> None:
        self.writer = FailingWriter(model, MEMORY, max_frames=8, reserve=128)
        self.clips = ClipQueue(4)
        config = DeviceConfig(max_cameras=len(CAMERAS))
        self.slots = CameraSlots(self.writer, config, self.clips.dropped_frames)
        self.reports: list[dict[str, object]] = []
        self.runner = IngestRunner(
            self.writer,
            self.slots,
            self.clips,
            max_frames=8,
            report=lambda event, **fields: self.reports.append({"event": event, **fields}),
        )
        self._cameras = cameras
        for name in cameras:
            self.slots.add(name, None, started_s=0.0, gap=None, is_gated=False)

    def put(self, number: int) -> None:
        """A clip of each camera, with frames of its own."""
        for index, name in enumerate(CAMERAS):
            if name in self._cameras:
                num_frames = 4 if name != "gate" else 3
                self.clips.put(clip(name, 100.0 + 2 * number, num_frames, seed=10 * number + index))

    def run(self, at_once: int = len(CAMERAS)) -> None:
        """at_once: cameras in one job."""
        while self.run_part(at_once) is not None:
            pass

    def run_part(self, at_once: int = len(CAMERAS)) -> Work | None:
        """The next job; what it was, None if nothing waits."""
        works = [work for work, pieces in self.runner.waiting().items() if pieces]
        if not works:
            return None
        job = self.runner.next_job(Turn(works[0], at_once))
        if job is not None:
            job.run()
        return works[0]

    def contents(self, name: str) -> list[torch.Tensor]:
        return contents(self.slots.get(name).memory)

    def ids(self, name: str) -> list[list[int]]:
        memory = self.slots.get(name).memory
        return [numbered(memory.after_prefix(layer).token_ids).tolist() for layer in range(memory.num_layers)]


def after(device: Device, *, at_once: int = len(CAMERAS), steps: int = STEPS) -> Device:
    for number in range(steps):
        device.put(number)
        device.run(at_once)
    return device


@pytest.fixture(scope="module")
def one_by_one(model: LlavaOnevision) -> Device:
    return after(Device(model, CAMERAS), at_once=1)


def test_cameras_in_one_pass_hold_what_each_holds_by_itself(model: LlavaOnevision, one_by_one: Device) -> None:
    """Steps of 64 and of 48 tokens; the same tokens are evicted."""
    together = after(Device(model, CAMERAS))

    assert (together.writer.num_passes, one_by_one.writer.num_passes) == (STEPS, 3 * STEPS)
    for name in CAMERAS:
        assert together.slots.get(name).memory.compactions >= 2
        assert together.ids(name) == one_by_one.ids(name)
        for mine, alone in zip(together.contents(name), one_by_one.contents(name), strict=True):
            assert torch.allclose(mine.double(), alone.double(), atol=1e-4)
    assert together.reports == []


@pytest.mark.parametrize("fault", ["out_of_memory", "damaged"])
def test_what_fails_in_a_pass_of_several_hurts_one_camera(
    model: LlavaOnevision, one_by_one: Device, fault: str
) -> None:
    """Every pass with the lobby fails: the others are as without it, to the bit, and the lobby's memory is empty."""
    device = Device(model, CAMERAS)
    setattr(device.writer, fault, device.slots.get("lobby").memory.slot)

    after(device)

    for name in ("yard", "gate"):
        assert_same(device.contents(name), one_by_one.contents(name))
        assert device.slots.status(name).gaps == ()
        assert device.slots.status(name).frames_dropped == 0
    lobby = device.slots.get("lobby")
    assert lobby.memory.longest == lobby.memory.prefix_length
    assert device.slots.status("lobby").gaps == (Gap(100.0, 113.5, FAILED),)
    assert device.slots.status("lobby").frames_dropped == 4 * STEPS
    events = [(report["event"], report.get("camera"), report.get("cameras")) for report in device.reports]
    assert events == [("ingest_batch_failed", None, 3), ("device_job_failed", "lobby", None)] * STEPS


def test_a_camera_is_the_same_to_the_bit_beside_one_whose_frames_always_fail(model: LlavaOnevision) -> None:
    device, alone = Device(model, ("yard", "lobby")), Device(model, ("yard",))
    device.writer.damaged = device.slots.get("lobby").memory.slot

    assert_same(after(device).contents("yard"), after(alone).contents("yard"))


@settings(max_examples=12)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_fault_at_any_point_of_a_pass_of_several_loses_at_most_the_frames_of_one(
    model: LlavaOnevision, one_by_one: Device, place: float
) -> None:
    device, faults = after(Device(model, CAMERAS), steps=STEPS - 1), Faults()
    device.put(STEPS - 1)
    with faults:
        faults.fail_after(int(place * _NUM_OPERATIONS), torch.OutOfMemoryError("out of memory"))
        device.run()

    dropped = {name: device.slots.status(name).frames_dropped for name in CAMERAS}
    assert faults.disarm()
    assert sum(dropped.values()) <= 4
    assert len(device.reports) == 1
    for name in CAMERAS:
        if not dropped[name]:
            assert device.ids(name) == one_by_one.ids(name)
            assert device.slots.status(name).gaps == ()


_NUM_OPERATIONS = 300  # fewer than the step has


def test_a_camera_that_was_removed_has_no_part_in_the_pass(model: LlavaOnevision) -> None:
    device = Device(model, CAMERAS)
    device.slots.remove("lobby")

    device.put(0)
    device.run()

    assert device.writer.num_passes == 1
    assert device.slots.status("yard").frames_seen == 4
    assert device.slots.status("gate").frames_seen == 3


def test_memories_of_a_pass_are_in_the_order_of_their_slots(model: LlavaOnevision) -> None:
    """Neighbours are read together, whatever the order of the cameras' turns."""
    device = Device(model, CAMERAS)
    for name in reversed(CAMERAS):
        device.clips.put(clip(name, 100.0))
    device.run()

    assert device.writer.newest_slots == (0, 1, 2)


def test_every_part_of_a_step_is_timed_as_what_a_question_may_wait_for(model: LlavaOnevision) -> None:
    costs = after(Device(model, CAMERAS)).runner.costs

    for part in (Work.ENCODE, Work.APPEND, Work.COMPACT):
        assert costs.of(part) > 0, part


class SlowGate(OpenGate):
    """Takes 0.2 s for a step. invalidations: of what it admitted."""

    SECONDS = 0.2
    invalidations = 0

    def admit(self, frames: torch.Tensor, times_s: Sequence[float]) -> torch.Tensor:
        time.sleep(self.SECONDS)
        return super().admit(frames, times_s)

    def invalidate(self) -> None:
        self.invalidations += 1


class SlowEncoder:
    """The model itself, whose vision encoder takes 0.2 s for a step."""

    def __init__(self, model: LlavaOnevision) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed_frames(self, groups: torch.Tensor) -> Embeddings:
        time.sleep(SlowGate.SECONDS)
        return self._model.embed_frames(groups)


@pytest.mark.parametrize("slow", ["gate", "encoder"])
def test_a_question_waits_for_the_gate_and_for_the_encoder(model: LlavaOnevision, slow: str) -> None:
    """One job: how many frames may have the device before a question is computed from both."""
    device = Device(model if slow == "gate" else SlowEncoder(model), ("lobby",))  # type: ignore[arg-type]
    if slow == "gate":
        device.slots.get("lobby").change_gate(SlowGate(grid))

    device.put(0)
    device.run()

    assert device.runner.costs.of(Work.ENCODE) >= SlowGate.SECONDS / (4 * TOKENS_PER_FRAME)


def test_a_compaction_that_fails_makes_no_frame_pass_the_gate_again(model: LlavaOnevision) -> None:
    """The frames are in the memory: the next one need not pass whole."""
    device = Device(model, ("lobby",))
    gate = SlowGate(grid)
    device.slots.get("lobby").change_gate(gate)
    device.writer.not_compacted = device.slots.get("lobby").memory.slot
    number = 0
    while not device.reports:
        device.put(number)
        device.run()
        number += 1

    assert [(report["event"], report["camera"]) for report in device.reports] == [("device_job_failed", "lobby")]
    assert gate.invalidations == 0
    device.put(number)
    device.run()
    assert gate.invalidations == 1  # that step found no room


def test_a_camera_s_memory_is_to_the_bit_what_its_steps_alone_make_of_it(
    model: LlavaOnevision, one_by_one: Device
) -> None:
    """Compaction as a job of its own leaves what it leaves right behind a step."""
    alone = Device(model, CAMERAS)
    for number in range(STEPS):
        for index, name in enumerate(CAMERAS):
            frames = clip(name, 100.0 + 2 * number, 4 if name != "gate" else 3, seed=10 * number + index)
            alone.slots.get(name).append(frames)

    for name in CAMERAS:
        assert one_by_one.slots.get(name).memory.compactions >= 2
        assert_same(one_by_one.contents(name), alone.contents(name))


@settings(max_examples=12)
@given(at_once=st.lists(st.integers(1, len(CAMERAS)), min_size=2 * STEPS, max_size=2 * STEPS))
def test_no_step_begins_before_the_memories_of_the_last_one_have_room(
    model: LlavaOnevision, at_once: list[int]
) -> None:
    """No compaction is left to the next step of its camera, whatever cameras the steps are of."""
    device, works = Device(model, CAMERAS), []
    for number, count in enumerate(at_once):
        device.put(number)
        upkeep_s = device.writer.upkeep_s
        while (work := device.run_part(count)) is not None:
            works.append(work)
            assert work is Work.COMPACT or device.writer.upkeep_s == upkeep_s
            upkeep_s = device.writer.upkeep_s

    for work, then in pairwise(works):
        assert (work is Work.ENCODE) == (then is Work.APPEND)
    assert works.count(Work.COMPACT) >= 2
    for name in CAMERAS:
        status = device.slots.status(name)
        assert 0 < status.upkeep_s < status.ingest_s


def test_a_compaction_that_fails_hurts_one_camera_which_keeps_its_frames_as_long_as_there_is_room(
    model: LlavaOnevision, one_by_one: Device
) -> None:
    device = Device(model, CAMERAS)
    lobby = device.slots.get("lobby").memory
    device.writer.not_compacted = lobby.slot
    number = 0
    while not device.reports:
        device.put(number)
        device.run()
        number += 1

    events = [(report["event"], report.get("camera"), report.get("cameras")) for report in device.reports]
    assert events == [("ingest_batch_failed", None, 2), ("device_job_failed", "lobby", None)]
    assert lobby.longest - lobby.prefix_length == 64 * number > MEMORY.tokens_per_layer
    assert device.slots.status("lobby").frames_dropped == 0
    device.put(number)
    device.run()
    assert device.slots.status("lobby").frames_dropped == 4
    assert device.slots.status("lobby").gaps[-1].reason == FAILED
    device.writer.not_compacted = None
    after_both = [device.slots.get(name).memory.compactions for name in CAMERAS]
    device.put(number + 1)
    device.run()
    assert device.slots.get("lobby").memory.compactions > after_both[1]
    assert lobby.longest - lobby.prefix_length <= MEMORY.tokens_per_layer + 64
