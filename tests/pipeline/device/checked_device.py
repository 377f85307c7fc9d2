"""An engine beside a reference: after every job, what a fault did not hurt must be as if there had been none."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import torch

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.memory import Memory
from pipeline.answers import ANYBODY, AnswerEvent, AnswerFailed, Done, Overloaded, QuestionError, QuestionExpired
from pipeline.cameras import CameraFailed
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.question_request import QuestionRequest
from pipeline.sources.clips import Clip
from tests.pipeline.device.damaged_model import Damage, DamagedModel
from tests.pipeline.device.faults import Faults
from tests.pipeline.device.question_batches import Question
from tests.pipeline.device.reference_cameras import ReferenceCameras, assert_equal_answers
from tests.pipeline.device.stepped_engine import SteppedEngine

ERRORS: dict[str, Callable[[], Exception]] = {
    "CUDA out of memory": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "out of memory": MemoryError,
    "unable to write": lambda: RuntimeError("unable to write"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: a Damage of the model's passes, or one of `ERRORS` in place of a tensor operation. place: which, from 0."""

    kind: str
    place: int


@dataclass(eq=False, repr=False)
class Asked:
    """A question and what its listener got. alone: what it must get; may_fail: its camera was removed."""

    question: Question
    events: list[AnswerEvent | QuestionError] = field(default_factory=list)
    request: QuestionRequest | None = None
    alone: list[AnswerEvent | QuestionError] = field(default_factory=list)
    may_fail: bool = False

    @property
    def is_over(self) -> bool:
        is_cancelled = self.request is not None and self.request.is_cancelled
        return is_cancelled or (bool(self.events) and isinstance(self.events[-1], Done | QuestionError))


@dataclass(frozen=True, slots=True)
class _Before:
    """A camera before a job."""

    frames_seen: int
    frames_dropped: int
    compactions: int
    reach: int
    ids: list[set[int]]


class CheckedDevice:
    """Does the same to an engine and to a reference. counts: of what happened."""

    def __init__(self, engine: SteppedEngine, model: DamagedModel, reference: ReferenceCameras) -> None:
        self.engine = engine
        self.asked: list[Asked] = []
        self.counts: Counter[str] = Counter()
        self._model = model
        self._reference = reference
        self._copies: list[tuple[str, Future[Checkpoint]]] = []
        self._steps: list[tuple[CameraMemory, Clip]] = []  # taken, and neither appended nor lost

    @property
    def cameras(self) -> dict[str, CameraMemory]:
        return self.engine._slots.cameras

    def add(self, name: str, checkpoint: Checkpoint | None, *, is_gated: bool, fault: Fault | None = None) -> None:
        """Adds a camera; at a fault it must not be there, and a second try must work."""
        gap = Gap(900.0, 910.0, "away")

        def add() -> None:
            self.engine.add_camera(name, checkpoint, started_s=0.0, gap=gap, is_gated=is_gated)

        try:
            with _operations(fault):
                add()
        except CameraFailed:
            self.counts["not added"] += 1
            assert fault is not None, self.engine.reports
            assert name not in self.cameras
            add()
        self._reference.add(name, checkpoint, gap, is_gated=is_gated)
        self._reference.assert_equal(self.cameras[name])

    def remove(self, name: str, *, keeps_answers: bool) -> None:
        self._let_fail(name, keeps_running=keeps_answers)
        self.engine.remove_camera(name, keeps_answers=keeps_answers)
        self._reference.remove(name)
        self.counts["removed"] += 1

    def erase(self, name: str) -> None:
        gap = Gap(1_000.0, 1_001.0, "erased")
        self._let_fail(name)
        self.engine.erase_camera(name, gap)
        self._reference.erase(name, gap)
        self.counts["erased"] += 1

    def set_gate(self, name: str, *, is_gated: bool) -> None:
        self.engine.set_gate(name, is_gated=is_gated)
        self._reference.set_gate(name, is_gated=is_gated)

    def move(self, name: str, *, is_gated: bool) -> None:
        """The camera leaves with all that it has, and comes back."""
        saved = self.engine.snapshot(name, is_whole=True).result(0)
        self.remove(name, keeps_answers=True)
        self.add(name, saved, is_gated=is_gated)
        self.counts["moved"] += 1

    def copy(self, name: str) -> None:
        """Queues a copy of the camera's summary tier."""
        self._copies.append((name, self.engine.snapshot(name)))

    def ask(self, question: Question) -> None:
        asked = Asked(question)
        try:
            asked.request = self.engine.ask(
                question.camera,
                question.text,
                asked.events.append,
                max_answer_tokens=question.max_tokens,
                caller=question.caller,
            )
        except Overloaded:
            self.counts["overloaded"] += 1
        else:
            self.asked.append(asked)

    def cancel(self, asked: Asked) -> None:
        assert asked.request is not None
        asked.request.cancel()
        self.counts["cancelled"] += 1

    def run_job(self, fault: Fault | None = None) -> bool:
        """Runs a job, during which the fault comes, and checks all that it did. False if nothing waits."""
        before = {name: self._before(name) for name in self.cameras}
        running = [asked for asked in self.asked if not asked.is_over]
        self.engine.reports.clear()
        self.engine.queue.taken.clear()
        is_damage = fault is not None and fault.kind in set(Damage)
        if fault is not None and is_damage:
            self._model.arm(Damage(fault.kind), fault.place)
        with _operations(None if is_damage else fault) as faults:
            has_job = self.engine.thread.run_next()
        victim, has_come = self._model.disarm(), faults is not None and faults.disarm()
        hurt = self._hurt()
        self._check_hurt(hurt, victim, has_come=has_come)
        self._note_begun(running)
        steps, self._steps = self._steps, []
        for camera, clip in steps:
            self._check_step(camera, clip, before, hurt)
        for clip in self.engine.queue.taken:
            if clip.camera in self.cameras:
                self._reference.encode(clip)
                self._check_step(self.cameras[clip.camera], clip, before, hurt)
        for name, camera in self.cameras.items():
            self._check_compaction(camera, before[name], hurt)
        for asked in running:
            self._check_end(asked, hurt)
        self._check_copies(may_fail=has_come)
        return has_job

    def check_end(self) -> None:
        """Nothing waits any more: every question has ended, every slot is free, every memory is what it must be."""
        assert not [asked.question for asked in self.asked if not asked.is_over]
        assert not self._copies
        assert not self._steps
        assert self.engine.has_every_slot_free()
        for camera in self.cameras.values():
            self._reference.assert_equal(camera)

    def _let_fail(self, name: str, *, keeps_running: bool = False) -> None:
        for asked in self.asked:
            if asked.question.camera == name and not (keeps_running and asked.events):
                asked.may_fail = True

    def _before(self, name: str) -> _Before:
        camera, dropped = self.cameras[name], self.engine.clips.dropped_frames(name)
        return _Before(camera.frames_seen, dropped, camera.memory.compactions, camera.memory.reach, _ids(camera.memory))

    def _hurt(self) -> set[str]:
        """Cameras by name, answers by id, that the engine reported as failed."""
        failed = [report for report in self.engine.reports if report["event"] in ("device_job_failed", "answer_failed")]
        return {str(report.get("answer_id", report.get("camera", report.get("job")))) for report in failed}

    def _check_hurt(self, hurt: set[str], victim: Memory | None, *, has_come: bool) -> None:
        if victim is None:
            assert len(hurt) <= has_come, self.engine.reports
        elif victim.slabs is self.engine._slots._slabs:
            assert hurt == {camera.name for camera in self.cameras.values() if camera.memory is victim}
        else:
            assert len(hurt) == 1
            assert hurt <= {asked.request.id for asked in self.asked if asked.request is not None}
        self.counts["hurt"] += len(hurt)

    def _note_begun(self, running: list[Asked]) -> None:
        for asked in running:
            if asked.events and not asked.alone and not isinstance(asked.events[0], QuestionError):
                asked.alone = self._reference.answer(replace(asked.question, caller=ANYBODY, after=0))

    def _check_step(self, camera: CameraMemory, clip: Clip, before: dict[str, _Before], hurt: set[str]) -> None:
        """The step is in the memory as if it had been alone there, or hurt and not there at all, or still to come."""
        if self.cameras.get(camera.name) is not camera:
            return
        was = before[camera.name]
        num_seen = camera.frames_seen - was.frames_seen
        num_dropped = self.engine.clips.dropped_frames(clip.camera) - was.frames_dropped
        if not num_seen and not num_dropped:
            assert clip.camera not in hurt
            self._steps.append((camera, clip))
            return
        assert (num_seen, num_dropped) in ((len(clip.times_s), 0), (0, len(clip.times_s)))
        assert num_seen or clip.camera in hurt
        if num_seen:
            self._reference.append(clip.camera)
        else:
            self.counts["steps lost"] += 1
            for old, new in zip(was.ids, _ids(camera.memory), strict=True):
                assert all(id < 0 for id in new - old)
        self.counts["reindexed"] += camera.memory.reach != was.reach
        self.counts["steps"] += 1

    def _check_compaction(self, camera: CameraMemory, was: _Before, hurt: set[str]) -> None:
        """A memory is compacted by a job of its own, or right before a step; the other cameras are as they were."""
        if camera.name in hurt:
            self._reference.adopt(camera)
        elif camera.memory.compactions != self._reference.get(camera.name).memory.compactions:
            assert camera.frames_seen == was.frames_seen
            self._reference.compact(camera.name)
        self._reference.assert_equal(camera)
        self.counts["compacted"] += camera.memory.compactions - was.compactions

    def _check_end(self, asked: Asked, hurt: set[str]) -> None:
        if not asked.is_over or asked.request is None or asked.request.is_cancelled:
            return
        end = asked.events[-1]
        if isinstance(end, Done):
            assert_equal_answers(asked.events, asked.alone)
        elif isinstance(end, QuestionExpired):
            assert asked.question.caller.timeout_s is not None
        elif isinstance(end, AnswerFailed):
            assert asked.may_fail or asked.request.id in hurt
        else:
            assert isinstance(end, Overloaded), end
        self.counts[type(end).__name__] += 1

    def _check_copies(self, *, may_fail: bool) -> None:
        for name, copying in [(name, copying) for name, copying in self._copies if copying.done()]:
            self._copies.remove((name, copying))
            error = copying.exception()
            if error is None:
                self._reference.assert_copy(name, copying.result())
                self.counts["copies"] += 1
            else:
                assert may_fail or name not in self.cameras, error


def _ids(memory: Memory) -> list[set[int]]:
    return [set(memory.layer(index).token_ids.tolist()) for index in range(memory.num_layers)]


@contextlib.contextmanager
def _operations(fault: Fault | None) -> Iterator[Faults | None]:
    if fault is None:
        yield None
        return
    with Faults() as faults:
        faults.fail_after(fault.place, ERRORS[fault.kind]())
        yield faults
