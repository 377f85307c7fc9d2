"""Which job a device runs next of all that waits, by its schedule. Device thread only."""

from __future__ import annotations

from pipeline.device.camera_slots import CameraSlots
from pipeline.device.device_thread import DeviceThread, Job
from pipeline.device.ingest import IngestRunner
from pipeline.device.questions import QuestionRunner
from pipeline.device.scheduler import Scheduler, Turn, Work
from pipeline.device.snapshot_transfer import SnapshotTransfer


class JobChoice:
    """Makes a job of what the scheduler puts first: questions, answers, frames, or background work of the thread."""

    def __init__(
        self,
        scheduler: Scheduler,
        slots: CameraSlots,
        questions: QuestionRunner,
        ingest: IngestRunner,
        snapshots: SnapshotTransfer,
        thread: DeviceThread,
    ) -> None:
        self._scheduler, self._slots = scheduler, slots
        self._questions, self._ingest = questions, ingest
        self._snapshots, self._thread = snapshots, thread

    def next_job(self) -> Job | None:
        """The job whose turn it is, None only if nothing waits: the device then sleeps until it is woken."""
        while (turn := self._scheduler.next_turn(self.waiting(), self.quick_tokens)) is not None:
            # Every call takes clips, or what is left of a step, so the loop ends.
            if (job := self._job_of(turn)) is not None:
                return job
        return None

    def waiting(self) -> dict[Work, list[int]]:
        """The tokens of each piece of work that waits, at most, after questions that cannot be answered have ended."""
        cameras = self._slots.cameras
        self._questions.end_unanswerable(cameras)
        return {
            **self._questions.waiting(cameras),
            **self._ingest.waiting(),
            Work.BACKGROUND: [0] if self._thread.has_background_job and self._snapshots.has_room else [],
        }

    @property
    def quick_tokens(self) -> int | None:
        """As many tokens of frames as make no part of a step longer than a question; None until both were measured."""
        token_s, prefill_s = self._ingest.costs.slowest, self._questions.prefill_s
        return int(prefill_s / token_s) if token_s and prefill_s else None

    def _job_of(self, turn: Turn) -> Job | None:
        """None if there is none any more."""
        if turn.work is Work.BACKGROUND:
            return self._thread.next_background_job()
        if turn.work in (Work.PREFILL, Work.DECODE):
            return self._questions.next_job(turn, self._slots.cameras)
        return self._ingest.next_job(turn)
