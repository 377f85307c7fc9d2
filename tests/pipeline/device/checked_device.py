"""An engine beside a reference: after every job, what a fault did not hit must be as if there had been none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.memory import Memory
from pipeline.answers import ANYBODY, Overloaded, QuestionError
from pipeline.cameras import CameraFailed
from pipeline.device.camera_memory import CameraMemory
from pipeline.sources.clips import Clip
from tests.pipeline.device.damaged_model import Damage, DamagedModel
from tests.pipeline.device.faults import Fault, failing
from tests.pipeline.device.question_batches import Question
from tests.pipeline.device.question_record import QuestionRecord
from tests.pipeline.device.reference_cameras import ReferenceCameras
from tests.pipeline.device.stepped_engine import SteppedEngine


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
        self.records: list[QuestionRecord] = []
        self.counts: Counter[str] = Counter()
        self._model = model
        self._reference = reference
        self._copies: list[tuple[str, Future[Checkpoint]]] = []
        self._steps: list[tuple[CameraMemory, Clip]] = []  # taken, and neither appended nor lost

    @property
    def cameras(self) -> Mapping[str, CameraMemory]:
        return self.engine.cameras

    def add(self, name: str, checkpoint: Checkpoint | None, *, is_gated: bool, fault: Fault | None = None) -> None:
        """Adds a camera; at a fault it must not be there, and a second try must work."""
        gap = Gap(900.0, 910.0, "away")

        def add() -> None:
            self.engine.add_camera(name, checkpoint, started_s=0.0, gap=gap, is_gated=is_gated)

        try:
            with failing(fault):
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

    def discard(self, name: str) -> None:
        """Frames that are on their way do not come into the memory."""
        self.engine.clips.discard(name)
        if any(camera.name == name for camera, _ in self._steps):
            self._steps = [(camera, clip) for camera, clip in self._steps if camera.name != name]
            self._reference.discard(name)
            self.counts["discarded"] += 1

    def hold_back(self, name: str) -> None:
        """Frames that are on their way do not come into the memory before `release`."""
        self.engine.clips.hold_back(name)
        self.counts["held back"] += 1

    def release(self, name: str) -> None:
        self.engine.clips.release(name)

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
        record = QuestionRecord(question)
        try:
            record.request = self.engine.ask(
                question.camera,
                question.text,
                record.events.append,
                max_answer_tokens=question.max_tokens,
                caller=question.caller,
            )
        except Overloaded:
            self.counts["overloaded"] += 1
        else:
            self.records.append(record)

    def cancel(self, record: QuestionRecord) -> None:
        assert record.request is not None
        record.request.cancel()
        self.counts["cancelled"] += 1

    def run_job(self, fault: Fault | None = None) -> bool:
        """Runs a job, during which the fault comes, and checks all that it did. False if nothing waits."""
        before = {name: self._before(name) for name in self.cameras}
        running = [record for record in self.records if not record.is_over]
        self.engine.reports.clear()
        self.engine.queue.taken.clear()
        is_damage = fault is not None and fault.kind in set(Damage)
        if fault is not None and is_damage:
            self._model.arm(Damage(fault.kind), fault.place)
        with failing(None if is_damage else fault) as faults:
            has_job = self.engine.thread.run_next()
        victim, has_come = self._model.disarm(), faults is not None and faults.disarm()
        failed = self._failed()
        self._check_failed(failed, victim, has_come=has_come)
        self._note_begun(running)
        steps, self._steps = self._steps, []
        for camera, clip in steps:
            if self.engine.queue.has_put_back(clip):
                self._reference.discard(clip.camera)
                self.counts["put back"] += 1
            else:
                self._check_step(camera, clip, before, failed)
        for clip in self.engine.queue.taken:
            if clip.camera in self.cameras:
                self._reference.encode(clip)
                self._check_step(self.cameras[clip.camera], clip, before, failed)
        for name, camera in self.cameras.items():
            self._check_compaction(camera, before[name], failed)
        for record in running:
            if (end := record.check_end(failed)) is not None:
                self.counts[type(end).__name__] += 1
        self._check_copies(may_fail=has_come)
        return has_job

    def check_end(self) -> None:
        """Nothing waits any more: every question has ended, every slot is free, every memory is what it must be."""
        assert not [record.question for record in self.records if not record.is_over]
        assert not self._copies
        assert not self._steps
        for camera in self.cameras.values():
            self._reference.assert_equal(camera)
        self.engine.require_every_slot_free()

    def _let_fail(self, name: str, *, keeps_running: bool = False) -> None:
        for record in self.records:
            if record.question.camera == name and not (keeps_running and record.events):
                record.may_fail = True

    def _before(self, name: str) -> _Before:
        camera, dropped = self.cameras[name], self.engine.clips.dropped_frames(name)
        return _Before(camera.frames_seen, dropped, camera.memory.compactions, camera.memory.reach, _ids(camera.memory))

    def _failed(self) -> set[str]:
        """Cameras by name, answers by id, that the engine reported as failed."""
        failed = [report for report in self.engine.reports if report["event"] in ("device_job_failed", "answer_failed")]
        return {str(report.get("answer_id", report.get("camera", report.get("job")))) for report in failed}

    def _check_failed(self, failed: set[str], victim: Memory | None, *, has_come: bool) -> None:
        if victim is None:
            assert len(failed) <= has_come, self.engine.reports
        elif any(camera.memory.slabs is victim.slabs for camera in self.cameras.values()):
            assert failed == {camera.name for camera in self.cameras.values() if camera.memory is victim}
        else:
            assert len(failed) == 1
            assert failed <= {record.request.id for record in self.records if record.request is not None}
        self.counts["failed"] += len(failed)

    def _note_begun(self, running: list[QuestionRecord]) -> None:
        for record in running:
            if record.events and not record.expected and not isinstance(record.events[0], QuestionError):
                record.expected = self._reference.answer(replace(record.question, caller=ANYBODY, after=0))

    def _check_step(self, camera: CameraMemory, clip: Clip, before: dict[str, _Before], failed: set[str]) -> None:
        """The step is in the memory as if it had been alone there, or failed and not there at all, or still to come."""
        if self.cameras.get(camera.name) is not camera:
            return
        was = before[camera.name]
        num_seen = camera.frames_seen - was.frames_seen
        num_dropped = self.engine.clips.dropped_frames(clip.camera) - was.frames_dropped
        if not num_seen and not num_dropped:
            assert clip.camera not in failed
            self._steps.append((camera, clip))
            return
        assert (num_seen, num_dropped) in ((len(clip.times_s), 0), (0, len(clip.times_s)))
        assert num_seen or clip.camera in failed
        if num_seen:
            self._reference.append(clip.camera)
        else:
            self.counts["steps lost"] += 1
            for old, new in zip(was.ids, _ids(camera.memory), strict=True):
                assert all(id < 0 for id in new - old)
        self.counts["reindexed"] += camera.memory.reach != was.reach
        self.counts["steps"] += 1

    def _check_compaction(self, camera: CameraMemory, was: _Before, failed: set[str]) -> None:
        """A memory is compacted by a job of its own, or right before a step; the other cameras are as they were."""
        if camera.name in failed:
            self._reference.adopt(camera)
        elif camera.memory.compactions != self._reference.get(camera.name).memory.compactions:
            assert camera.frames_seen == was.frames_seen
            self._reference.compact(camera.name)
        self._reference.assert_equal(camera)
        self.counts["compacted"] += camera.memory.compactions - was.compactions

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
