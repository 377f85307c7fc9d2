"""The engine of one device: it appends frames to memories and answers questions about them, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.tiers import MemoryConfig
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import ANYBODY, Caller, OnEvent
from pipeline.cameras import CameraFailed
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.camera_slots import CameraSlots
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine_parts import EngineParts
from pipeline.device.failure_report import FailureReport, to_logging
from pipeline.device.ingest import IngestRunner
from pipeline.device.job_choice import JobChoice
from pipeline.device.question_request import QuestionRequest
from pipeline.device.questions import QuestionRunner
from pipeline.device.scheduler import Scheduler
from pipeline.memory_status import MemoryStatus

T = TypeVar("T")
_PARTS = EngineParts()


class Engine:
    """The cameras and questions of one device. Any thread may call it; the work is done on the device thread.

    command_timeout_s: so long callers wait for a command. jobs: device thread only.
    Feeds put clips into `clips`. Everything else that touches a memory runs as a command between two jobs.
    A job is one pass over questions or over running answers, one part of a step of frames of some cameras, or one piece
    of background work. A failure ends its question, its frames or its command, and nothing else.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        memory_config: MemoryConfig,
        config: DeviceConfig,
        *,
        clock: Callable[[], float] = time.time,
        report: FailureReport = to_logging,
        parts: EngineParts = _PARTS,
    ) -> None:
        self.command_timeout_s = 60.0
        self._clock = clock
        writer = MemoryWriter(
            model, memory_config, max_frames=config.max_frames_per_step, reserve=config.answer_reserve
        )
        answers = AnswerSlots(model.spec.kv, config, writer.capacity)
        self._questions = QuestionRunner(
            parts.decoder(model, answers.slabs, report),
            model.prompts,
            answers,
            config,
            clock=parts.question_clock,
            report=report,
        )
        self._thread = parts.thread(lambda: self.jobs.next_job(), on_stop=self._questions.close, report=report)
        snapshots = parts.snapshots(model.spec.kv, self._thread.wake, report=report)
        self._deliver = snapshots.deliver
        self.clips = parts.clips(config.max_queued_clips, on_put=self._thread.wake)
        self._slots = CameraSlots(writer, config, self.clips.dropped_frames)
        ingest = IngestRunner(writer, self._slots, self.clips, max_frames=config.max_frames_per_step, report=report)
        scheduler = Scheduler(max_tokens=config.max_tokens_per_pass)
        self.jobs: JobChoice = JobChoice(scheduler, self._slots, self._questions, ingest, snapshots, self._thread)

    @property
    def nbytes(self) -> int:
        """Size of all memory slots on the device, used or free."""
        return self._slots.nbytes

    @property
    def is_running(self) -> bool:
        """False before `start`, after `close`, and once the GPU is lost."""
        return self._thread.is_running

    @property
    def busy_share(self) -> float:
        """Share of the last seconds that the device thread did not wait for work, 0..1."""
        return self._thread.busy_share

    @property
    def cameras(self) -> Mapping[str, CameraMemory]:
        """By their names. Device thread only."""
        return self._slots.cameras

    @property
    def has_command(self) -> bool:
        """Whether a command waits for the end of the job at hand. Any thread may ask."""
        return self._thread.has_command

    def command(self, what: str, work: Callable[[], T]) -> Future[T]:
        """Runs work on the device thread, before the next job. The future fails with CameraFailed. what: for errors."""
        return self._thread.command(what, work)

    def start(self) -> None:
        """Starts the device thread."""
        self._thread.start()

    def measure_ingest(self) -> Future[float]:
        """Seconds that a whole frame takes, timed on a free slot. The future fails with a CameraError."""
        return self._thread.command("timing a step of frames", self._slots.time_frame)

    def close(self) -> None:
        """Stops after the job at hand; every answer ends with AnswerFailed, every command with CameraFailed.

        Blocks until then.
        """
        self._thread.close()

    def add_camera(
        self,
        name: str,
        checkpoint: Checkpoint | None = None,
        *,
        started_s: float | None = None,
        gap: Gap | None = None,
        is_gated: bool = False,
    ) -> None:
        """Gives a camera a slot and restores its checkpoint, if there is one. Blocks until the device has done it.

        gap: a time that is missing from the memory, beside those of the checkpoint. is_gated: unchanged patches of
        its frames are skipped. Raises CameraExists, TooManyCameras, CheckpointCorrupt, and CameraFailed if the device
        fails or is not done after 60 s; then the camera is not added.
        """
        started_s = started_s if started_s is not None else self._clock()
        what = f"camera {name!r}: adding it"
        adding = self._thread.command(
            what, lambda: self._slots.add(name, checkpoint, started_s=started_s, gap=gap, is_gated=is_gated)
        )
        try:
            adding.result(self.command_timeout_s)
        except TimeoutError:
            if not adding.cancel():
                self._thread.command(f"camera {name!r}: undoing its adding", lambda: self._undo(adding, name))
            raise CameraFailed(f"{what}: not done after {self.command_timeout_s:g} s (limit)") from None

    def remove_camera(self, name: str, *, keeps_answers: bool = False) -> None:
        """Frees the camera's slot; its questions end with AnswerFailed. Blocks until then.

        keeps_answers: those that were begun go on, because they read copies of the memory. Raises UnknownCamera, and
        CameraFailed after 60 s; then it is removed as soon as the device comes to it.
        """
        self._do(f"camera {name!r}: removing it", lambda: self._remove(name, keeps_answers=keeps_answers))

    def set_gate(self, name: str, *, is_gated: bool) -> None:
        """Whether unchanged patches of the camera's frames are skipped from now on. As `remove_camera`."""
        self._do(f"camera {name!r}: changing its gate", lambda: self._slots.set_gate(name, is_gated=is_gated))

    def erase_camera(self, name: str, gap: Gap, *, keeps_place: bool = True) -> None:
        """Empties the camera's memory; its questions end with AnswerFailed, its waiting clips are dropped.

        keeps_place: a snapshot without frames says up to when they were erased. Blocks and raises as `remove_camera`.
        """
        self._do(f"camera {name!r}: erasing it", lambda: self._erase(name, gap, keeps_place=keeps_place))

    def is_new(self, name: str) -> bool:
        """Whether the camera has had no frame, not in the job at hand either. Blocks and raises as `remove_camera`."""
        return self._do(f"camera {name!r}: looking for frames", lambda: self._slots.get(name).is_new)

    def status(self, name: str) -> MemoryStatus:
        """The camera's memory in numbers, as of its last frames. Does not block. Raises UnknownCamera."""
        return self._slots.status(name)

    def ask(
        self,
        camera: str,
        question: str,
        on_event: OnEvent,
        *,
        max_answer_tokens: int | None = None,
        caller: Caller = ANYBODY,
    ) -> QuestionRequest:
        """Queues a question; `on_event` gets Started, Token and Evidence, then Done or one QuestionError.

        `on_event` is called on the device thread and must not block. Raises InvalidQuestion, UnknownCamera,
        Overloaded, QuestionExpired, and AnswerFailed if the device has stopped, at once.
        """
        self.status(camera)
        request = self._questions.add(camera, question, on_event, max_answer_tokens=max_answer_tokens, caller=caller)
        self._thread.wake()
        return request

    def snapshot(self, camera: str, *, is_whole: bool = False) -> Future[Checkpoint]:
        """The camera's global summary tier, copied off the device as background work, or its whole memory, at once.

        Questions wait until the next owner has the whole memory. On a GPU one snapshot at a time is first copied on the
        device, where it takes what its tokens take. The future fails with UnknownCamera or CameraFailed.
        """
        queue, what = self._thread.command if is_whole else self._thread.background, f"camera {camera!r}: copying it"
        return queue(what, lambda: self._snapshot(camera, is_whole), partial(self._deliver, what))

    def _do(self, what: str, work: Callable[[], T]) -> T:
        try:
            return self._thread.command(what, work).result(self.command_timeout_s)
        except TimeoutError:
            raise CameraFailed(f"{what}: not done after {self.command_timeout_s:g} s (limit)") from None

    def _undo(self, adding: Future[None], name: str) -> None:
        """Removes a camera that was added when its caller had given up."""
        if adding.exception() is None:
            self._remove(name)

    def _remove(self, name: str, *, keeps_answers: bool = False) -> None:
        self._slots.remove(name)
        reason = f"camera {name!r} was moved or removed; ask again"
        self._questions.fail_camera(name, reason, keeps_running=keeps_answers)
        self.clips.remove(name)

    def _erase(self, name: str, gap: Gap, *, keeps_place: bool) -> None:
        self._slots.erase(name, gap, self.clips.newest_s(name), keeps_place=keeps_place)
        self._questions.fail_camera(name, f"the memory of camera {name!r} was erased")
        self.clips.erase(name)
        self._slots.publish(self._slots.get(name))

    def _snapshot(self, name: str, is_whole: bool) -> Checkpoint:
        return self._slots.get(name).snapshot(self.clips.dropped_frames(name), self._clock(), is_whole=is_whole)
