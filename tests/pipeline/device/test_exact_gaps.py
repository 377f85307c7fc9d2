"""Gaps are exact: a frame that was due is in the memory or in a gap, and no frame of the memory is in a gap."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline.cameras import CameraSpec
from pipeline.decoding.images import ArrayImage
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate
from pipeline.sources.clip_builder import ClipBuilder
from pipeline.sources.clip_queue import DROPPED, ClipQueue
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.playback import RECONNECTED
from pipeline.sources.source import SampledFrame
from tests.conftest import grid, new_memory, random_frames

PERIOD_S, STARTED_S, GAP_AFTER_S = 0.5, 1000.0, 3.0
SPEC, CONFIG = CameraSpec(name="lobby", url="sim:lobby"), IngestConfig(sample_fps=1 / PERIOD_S)
STEPS = ["watch", "pile_up", "drop", "reconnect", "silence", "save", "crash", "move", "lose_store", "fail"]


class Watching:
    """A camera with a frame due every half second, on its way from the sampler through the queue into a memory."""

    def __init__(self, model: LlavaOnevision) -> None:
        self._writer = MemoryWriter(
            model, MemoryConfig(tokens_per_layer=128, recent_frames=4), max_frames=8, reserve=128
        )
        self._fit = model.spec.layout.frame_fit
        self._moment = 0
        self._image = ArrayImage(random_frames(1)[0].numpy())
        self._saved: Checkpoint | None = None
        self.memory = self._new_memory()
        self.due: list[float] = []
        self.in_memory: list[float] = []
        self.has_lost_begin = False  # what was read first is in no memory
        self._connect(after_loss=False)

    def watch(self, frames: int) -> None:
        """The device keeps up."""
        for _ in range(frames):
            self._sample()
            self._read()

    def pile_up(self, frames: int) -> None:
        """The device is busy: the queue drops its oldest clips."""
        for _ in range(4 * frames):
            self._sample()
        self._read()

    def drop(self, frames: int) -> None:
        """Frames are too late, or do not decode."""
        self._pass(frames)
        self._lost_before = DROPPED

    def reconnect(self, frames: int) -> None:
        """The stream breaks off and is opened again."""
        self._flush()
        self._pass(frames)
        self._lost_before = RECONNECTED

    def silence(self, frames: int) -> None:
        """The camera sends nothing for longer than gap_after_s."""
        self._pass(frames + 6)

    def save(self, frames: int) -> None:
        """A checkpoint, without the recent window."""
        self._saved = self.memory.snapshot(0, self._now_s)

    def crash(self, frames: int) -> None:
        """The next owner has the newest checkpoint, or knows that there was none."""
        self._pass(frames)
        self._take_over(self._saved)
        newest_s = self._saved.facts.newest_s if self._saved is not None else 0.0
        self.in_memory = [time_s for time_s in self.in_memory if time_s <= newest_s]
        self._connect(after_loss=self._saved is not None)

    def move(self, frames: int) -> None:
        """The next owner has the whole memory and the frames on their way."""
        self._take_over(self.memory.snapshot(0, self._now_s, is_whole=True) if self.in_memory else None)
        self.watch(frames)

    def lose_store(self, frames: int) -> None:
        """The store comes back empty."""
        self._saved = None

    def fail(self, frames: int) -> None:
        """The device fails at a clip that is not the first one."""
        if not self.in_memory and not self.has_lost_begin:
            return
        self._flush()
        while (clip := self._queue.take()) is not None:
            self.memory.lose(clip)

    def _take_over(self, saved: Checkpoint | None) -> None:
        self.memory = self._new_memory()
        self.has_lost_begin |= bool(self.in_memory) and (saved is None or not saved.facts.newest_s)
        if saved is not None:
            self.memory.restore(saved)
        if self.has_lost_begin and (saved is None or not saved.facts.newest_s):
            self.memory.begin_with(Gap(STARTED_S, self._now_s, "no frame of it was saved yet"))

    def _connect(self, *, after_loss: bool) -> None:
        self._builder = ClipBuilder(SPEC, CONFIG, self._fit, is_live=True)
        self._queue = ClipQueue(2)
        self._lost_before = RECONNECTED if after_loss else ""

    @property
    def _now_s(self) -> float:
        return STARTED_S + PERIOD_S * self._moment

    def _pass(self, moments: int) -> None:
        for _ in range(moments):
            self._moment += 1
            self.due.append(self._now_s)

    def _sample(self) -> None:
        self._pass(1)
        sample = SampledFrame(self._now_s, self._image)
        lost_before, self._lost_before = self._lost_before, ""
        clip = self._builder.add(sample, self._now_s, lost_before=lost_before)
        if clip is not None:
            self._queue.put(clip)

    def _flush(self) -> None:
        if (clip := self._builder.flush(self._now_s)) is not None:
            self._queue.put(clip)

    def _read(self) -> None:
        while (clip := self._queue.take(8)) is not None:
            self.memory.append(clip)
            self.in_memory += clip.times_s

    def finish(self) -> None:
        """Reads all that was sampled."""
        self.watch(1)
        self._flush()
        self._read()

    def _new_memory(self) -> CameraMemory:
        memory = new_memory(self._writer)
        gate = OpenGate(grid)
        return CameraMemory("lobby", memory, self._writer, gate, gap_after_s=GAP_AFTER_S, started_s=STARTED_S)


def missing(camera: Watching) -> list[tuple[float, float]]:
    """The plain reference: between which frames of the memory frames are missing."""
    times_s = [STARTED_S, *camera.in_memory] if camera.has_lost_begin else camera.in_memory
    return [
        (before, after)
        for before, after in itertools.pairwise(times_s)
        if any(before < time_s < after for time_s in camera.due)
    ]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 6)), min_size=1, max_size=10))
def test_what_is_due_is_in_the_memory_or_in_a_gap(model: LlavaOnevision, steps: list[tuple[str, int]]) -> None:
    camera = Watching(model)
    for step, frames in steps:
        getattr(camera, step)(frames)
    camera.finish()

    assert [(gap.start_s, gap.end_s) for gap in camera.memory.gaps] == missing(camera)


@pytest.mark.parametrize("lost", [1, 2, 4, 7])
def test_a_crash_loses_from_the_newest_saved_frame_to_the_first_one_after(model: LlavaOnevision, lost: int) -> None:
    camera = Watching(model)
    camera.watch(20)
    camera.save(1)
    newest_saved_s = camera.memory.snapshot(0, 0.0).facts.newest_s
    camera.watch(3)
    camera.crash(lost)
    camera.finish()

    (gap,) = camera.memory.gaps
    assert (gap.start_s, gap.end_s) == (newest_saved_s, camera.due[-1])
    assert gap.reason == "restored from a checkpoint"
