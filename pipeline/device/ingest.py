"""The frames of one device: steps of several cameras run as one batch, and each is noted in its own memory."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from models.memory_writer import MemoryWriter
from pipeline.device import frame_steps, job_guard
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.camera_slots import CameraSlots
from pipeline.device.device_thread import Job
from pipeline.device.failure_report import FailureReport
from pipeline.device.frame_steps import Appended, PreparedStep
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip

_NEWEST_SHARE = 0.1  # of a measurement, in the mean


@dataclass(frozen=True, slots=True)
class _Step:
    """The next frames of one camera."""

    camera: CameraMemory
    clip: Clip

    @property
    def what(self) -> str:
        return f"camera {self.camera.name!r}: {len(self.clip.times_s)} frames"


class IngestRunner:
    """Takes steps of frames out of the queue of clips and appends them to their memories. Device thread only.

    Whatever fails, the gate, a thumbnail or the pass, ends the frames of its own camera: a pass of several cameras that
    fails is done again one by one.
    """

    def __init__(
        self, writer: MemoryWriter, slots: CameraSlots, clips: ClipQueue, *, max_frames: int, report: FailureReport
    ) -> None:
        self._writer = writer
        self._slots = slots
        self._clips = clips
        self._max_frames = max_frames
        self._report = report
        self.token_s = 0.0  # seconds that a token of whole frames takes: the most, lately

    def waiting(self) -> list[int]:
        """The tokens of the next step of each camera that has one, at most."""
        layout = self._writer.model.spec.layout
        return [layout.max_tokens(frames) for frames in self._clips.next_steps(self._max_frames)]

    def next_job(self, count: int) -> Job | None:
        """The next steps of so many cameras, None if those cameras were removed. Every call takes clips."""
        clips, cameras = self._clips.take_steps(count, self._max_frames), self._slots.cameras
        steps = [_Step(cameras[clip.camera], clip) for clip in clips if clip.camera in cameras]
        steps.sort(key=lambda step: step.camera.memory.slot)  # because neighbours are read together
        if not steps:
            return None

        def fail(_: Exception) -> None:
            for step in steps:
                self._lose(step)

        is_alone = len(steps) == 1
        what = steps[0].what if is_alone else f"frames of {len(steps)} cameras"
        return Job(what, lambda: self._run(steps), fail, {"camera": steps[0].camera.name} if is_alone else {})

    def _run(self, steps: Sequence[_Step]) -> None:
        prepared: list[tuple[_Step, PreparedStep]] = []
        for step in steps:
            with self._failing(step):
                prepared.append((step, step.camera.prepare(step.clip)))
        self._append(prepared)

    def _append(self, steps: Sequence[tuple[_Step, PreparedStep]]) -> None:
        """One pass, or one for each camera if that fails: those that fail alone lose their frames."""
        if not steps:
            return
        appended: list[Appended] = []
        with job_guard.ends_with(lambda error: self._fail_pass(steps, error)):
            appended = frame_steps.append(self._writer, [prepared for _, prepared in steps])
        if appended:
            self._note_time(steps, appended)
            for (step, prepared), one in zip(steps, appended, strict=True):
                with self._failing(step):
                    self._note(step.camera, prepared, one)
        elif len(steps) > 1:
            # Not where the error is handled: it holds what the failed pass has allocated.
            for step_alone in steps:
                self._append([step_alone])

    def _fail_pass(self, steps: Sequence[tuple[_Step, PreparedStep]], error: Exception) -> None:
        if len(steps) == 1:
            self._fail(steps[0][0], error)
        else:
            self._report("ingest_batch_failed", cameras=len(steps), reason=repr(error))

    def _note_time(self, steps: Sequence[tuple[_Step, PreparedStep]], appended: Sequence[Appended]) -> None:
        layout = self._writer.model.spec.layout
        tokens = sum(layout.max_tokens(len(step.clip.times_s)) for step, _ in steps)
        seconds = sum(prepared.seconds for _, prepared in steps) + sum(one.seconds for one in appended)
        self.token_s = max(seconds / tokens, self.token_s + _NEWEST_SHARE * (seconds / tokens - self.token_s))

    def _note(self, camera: CameraMemory, prepared: PreparedStep, appended: Appended) -> None:
        camera.note(prepared, appended)
        self._slots.publish(camera)

    def _failing(self, step: _Step) -> AbstractContextManager[None]:
        """For what is of one camera alone; its failure loses that camera's frames."""
        return job_guard.ends_with(lambda error: self._fail(step, error))

    def _fail(self, step: _Step, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        about = {"job": step.what, "camera": step.camera.name}
        self._report("device_job_failed", **about, reason=repr(error), traceback=trace)
        self._lose(step)

    def _lose(self, step: _Step) -> None:
        self._clips.count_dropped(step.camera.name, step.camera.lose(step.clip))
        self._slots.publish_loss(step.camera)
