"""The frames of one device: steps of several cameras run as one batch, and each is noted in its own memory."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from models.memory_writer import MemoryWriter
from pipeline.device import frame_steps, job_guard
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.camera_slots import CameraSlots
from pipeline.device.device_thread import Job
from pipeline.device.failure_report import FailureReport
from pipeline.device.frame_steps import EncodedStep, PreparedStep
from pipeline.device.scheduler import Turn, Work
from pipeline.device.step_costs import StepCosts
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip

T = TypeVar("T")
R = TypeVar("R")

_GATE, _ENCODING, _PREFILL, _COMPACTION = "gate", "encoding", "prefill", "compaction"  # the parts of a step, in errors


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """The next frames of one camera."""

    camera: CameraMemory
    clip: Clip


class IngestRunner:
    """Takes steps of frames out of the queue of clips and appends them to their memories. Device thread only.

    costs: of its jobs.

    A batch of steps is up to three jobs, because a question waits for the end of a job: gate and vision encoder,
    prefill, and the compaction of the memories that have no room for another such step. The next batch begins when
    these are done, so no compaction is put off beyond the next step of its camera.
    Whatever fails, the gate, a thumbnail or a pass, is reported and loses the frames of its own camera: a pass of
    several cameras that fails is done again one by one. A memory whose compaction fails is as it was, and its next step
    compacts it first.
    """

    def __init__(
        self, writer: MemoryWriter, slots: CameraSlots, clips: ClipQueue, *, max_frames: int, report: FailureReport
    ) -> None:
        self._writer = writer
        self._slots = slots
        self._clips = clips
        self._max_frames = max_frames
        self._report = report
        self._encoded: list[tuple[_Step, EncodedStep]] = []  # what is to be appended
        self._full: list[_Step] = []  # what was appended, and left no room for as much again
        self.costs = StepCosts()

    def waiting(self) -> dict[Work, list[int]]:
        """What is left of the batch under way, as one piece, or the tokens of each camera's next step, at most."""
        if self._full:
            return {Work.COMPACT: [self._num_tokens(self._full)]}
        if self._encoded:
            return {Work.APPEND: [self._num_tokens([step for step, _ in self._encoded])]}
        layout = self._writer.model.spec.layout
        return {Work.ENCODE: [layout.max_tokens(frames) for frames in self._clips.next_steps(self._max_frames)]}

    def next_job(self, turn: Turn) -> Job | None:
        """What is left of the batch under way, or the next steps of so many cameras; None if those were removed.

        Every call takes clips, or a part of the batch.
        """
        if turn.work is Work.COMPACT:
            full, self._full = self._full, []
            full = [step for step in full if self._is_present(step)]
            return self._job(_COMPACTION, full, lambda: self._compact(full))
        if turn.work is Work.APPEND:
            encoded, self._encoded = self._encoded, []
            encoded = [(step, one) for step, one in encoded if self._is_present(step) and self._is_wanted(step)]
            return self._job(_PREFILL, [step for step, _ in encoded], lambda: self._append(encoded))
        clips, cameras = self._clips.take_steps(turn.count, self._max_frames), self._slots.cameras
        taken = [_Step(cameras[clip.camera], clip) for clip in clips if clip.camera in cameras]
        taken.sort(key=lambda step: step.camera.memory.slot)  # because neighbours are read together
        return self._job(_ENCODING, taken, lambda: self._encode(taken))

    def _is_present(self, step: _Step) -> bool:
        """Whether its camera was neither removed nor erased since its frames were taken."""
        return self._slots.cameras.get(step.camera.name) is step.camera

    def _is_wanted(self, step: _Step) -> bool:
        """Whether its frames were neither discarded nor held back since they were taken; else the gate forgets them.

        Those that are wanted cannot be discarded any more. What is held back waits for the end of a move: a whole
        snapshot that is taken now must not lack it here.
        """
        is_wanted = not self._clips.take_back(step.clip) and self._clips.claim(step.clip)
        if not is_wanted:
            self._forget(step)
        return is_wanted

    def _forget(self, step: _Step) -> None:
        """For frames that are not appended, though not lost here: they were counted when discarded, or come again."""
        step.camera.gate.invalidate()
        self._slots.publish_loss(step.camera)

    def _job(self, what: str, steps: Sequence[_Step], run: Callable[[], None]) -> Job | None:
        if not steps:
            return None

        def fail(_: Exception) -> None:
            for step in steps:
                self._lose(what, step)

        if len(steps) > 1:
            return Job(f"{what}: frames of {len(steps)} cameras", run, fail)
        return Job(_name(what, steps[0]), run, fail, {"camera": steps[0].camera.name})

    def _encode(self, steps: Sequence[_Step]) -> None:
        prepared: list[tuple[_Step, PreparedStep]] = []
        for step in steps:
            with self._guard(_GATE, step):
                prepared.append((step, step.camera.prepare(step.clip)))
        self._encoded = self._in_one_pass(_ENCODING, prepared, lambda batch: frame_steps.encode(self._writer, batch))

    def _append(self, encoded: Sequence[tuple[_Step, EncodedStep]]) -> None:
        of_steps = dict(encoded)
        appended = self._in_one_pass(_PREFILL, encoded, lambda batch: frame_steps.append(self._writer, batch))
        self._note_time(Work.APPEND, [step for step, _ in appended], sum(one.seconds for _, one in appended))
        # Only now, because it asks when the encoding ended: a GPU may have been at it when its job was over.
        seconds = sum(one.prepared.seconds + one.seconds for one in of_steps.values())
        self._note_time(Work.ENCODE, list(of_steps), seconds)
        self._full = [step for step, one in appended if not one.has_room]
        for step, one in appended:
            with self._guard(_PREFILL, step):
                step.camera.note(of_steps[step], one)
                self._slots.publish(step.camera)

    def _compact(self, steps: Sequence[_Step]) -> None:
        memories = [(step, step.camera.memory) for step in steps]
        compacted = self._in_one_pass(_COMPACTION, memories, lambda batch: frame_steps.compact(self._writer, batch))
        self._note_time(Work.COMPACT, [step for step, _ in compacted], sum(seconds for _, seconds in compacted))
        for step, seconds in compacted:
            with self._guard(_COMPACTION, step):
                step.camera.note_compaction(seconds)
                self._slots.publish(step.camera)

    def _in_one_pass(
        self, what: str, parts: Sequence[tuple[_Step, T]], run: Callable[[Sequence[T]], Sequence[R]]
    ) -> list[tuple[_Step, R]]:
        """What a pass over the parts of some steps gives for each. Those that fail by themselves are left out."""
        found = job_guard.in_one_pass(
            parts,
            lambda batch: run([part for _, part in batch]),
            fail=lambda one, error: self._fail(what, one[0], error),
            report=lambda error: self._report("ingest_batch_failed", job=what, cameras=len(parts), reason=repr(error)),
        )
        return [(step, result) for (step, _), result in found]

    def _guard(self, what: str, step: _Step) -> AbstractContextManager[None]:
        """For what is of one camera alone; its failure ends that part of that camera's step."""
        return job_guard.ends_with(lambda error: self._fail(what, step, error))

    def _fail(self, what: str, step: _Step, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        about = {"job": _name(what, step), "camera": step.camera.name}
        self._report("device_job_failed", **about, reason=repr(error), traceback=trace)
        self._lose(what, step)

    def _lose(self, what: str, step: _Step) -> None:
        """Notes that a part of a step failed: its frames are lost, unless they are in the memory already."""
        if what == _COMPACTION:
            return
        if not self._clips.claim(step.clip):
            self._forget(step)
            return
        self._clips.count_dropped(step.camera.name, step.camera.lose(step.clip))
        self._slots.publish_loss(step.camera)

    def _note_time(self, work: Work, steps: Sequence[_Step], seconds: float) -> None:
        self.costs.note(work, self._num_tokens(steps), seconds)

    def _num_tokens(self, steps: Sequence[_Step]) -> int:
        """Of whole frames."""
        layout = self._writer.model.spec.layout
        return sum(layout.max_tokens(len(step.clip.times_s)) for step in steps)


def _name(what: str, step: _Step) -> str:
    return f"camera {step.camera.name!r}: {what} of {len(step.clip.times_s)} frames"
