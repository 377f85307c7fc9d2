"""The work loop of one device: one thread owns the model and every memory on it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import structlog

from cache_store.checkpoint import Checkpoint, Gap, StoreError
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.answer_decoder import AnswerDecoder
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import AnswerFailed, QuestionError, UnknownCamera
from pipeline.cameras import CameraError, CameraExists, MemoryStatus, TooManyCameras
from pipeline.device import questions
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import ChangeGate, OpenGate, StaticGate
from pipeline.device.device_config import DeviceConfig
from pipeline.device.questions import Deliver, QuestionRequest, QuestionRunner
from pipeline.device.scheduler import Scheduler, Turn
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip

log = structlog.get_logger(__name__)

T = TypeVar("T")

_COMMAND_TIMEOUT_S = 60.0
_BUSY_WINDOW_S = 10.0


class Engine:
    """Cameras and questions of one device. Any thread may call it; the work is done on its own.

    The feeds put clips into `clips`. Everything else that touches a memory runs as a command between two jobs;
    a job is one step of frames, one prefill or one decode step.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        memory_config: MemoryConfig,
        config: DeviceConfig,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        reserve = config.max_question_tokens + config.max_answer_tokens
        self._config = config
        self._clock = clock
        self._keeper = MemoryWriter(model, memory_config, max_frames=config.max_frames_per_step, reserve=reserve)
        capacity = self._keeper.capacity
        self._slabs = Slabs(model.spec.kv, slots=config.max_cameras, capacity=capacity)
        scratch = Slabs(model.spec.kv, slots=config.max_running_questions, capacity=capacity + reserve + 1)
        self._free_slots = deque(range(config.max_cameras))
        self._cameras: dict[str, CameraMemory] = {}
        self._statuses: dict[str, MemoryStatus] = {}
        self._questions = QuestionRunner(
            AnswerDecoder(model),
            model.prompts,
            [Memory(scratch, slot) for slot in range(config.max_running_questions)],
            tokens_per_frame=model.spec.tokens_per_frame,
            max_waiting=config.max_waiting_questions,
        )
        self._model = model
        self._schedule = Scheduler()
        self._wake = threading.Event()
        self._commands: deque[Callable[[], None]] = deque()
        self._background: deque[Callable[[], None]] = deque()
        self._is_closing = False
        self.busy_share = 0.0  # of this thread's time, over the last seconds
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self.clips = ClipQueue(config.max_queued_clips, on_put=self._wake.set)

    @property
    def nbytes(self) -> int:
        """What all slots take on the device, whatever they hold."""
        return self._slabs.nbytes

    @property
    def is_running(self) -> bool:
        """False before `start`, after `close`, and after an error that nobody foresaw."""
        return self._thread.is_alive() and not self._is_closing

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops after the job at hand; every answer under way ends with AnswerFailed."""
        self._is_closing = True
        self._wake.set()
        self._thread.join()

    def add_camera(
        self,
        name: str,
        restored: Checkpoint | None = None,
        *,
        started_s: float | None = None,
        gap: Gap | None = None,
        is_gated: bool = False,
    ) -> None:
        """Gives a camera a slot, and what an earlier process saved of it; `gap` is what is known to be missing.

        With `is_gated` only what changes in its picture is read. Waits for the device.

        Raises CameraExists, TooManyCameras, CheckpointCorrupt; then the camera is not added.
        """
        started = started_s if started_s is not None else self._clock()
        self._command(lambda: self._add(name, restored, started, gap, is_gated)).result(_COMMAND_TIMEOUT_S)

    def remove_camera(self, name: str) -> None:
        """Frees the camera's slot; its questions end with AnswerFailed. Waits for the device. Raises UnknownCamera."""
        self._command(lambda: self._remove(name)).result(_COMMAND_TIMEOUT_S)

    def status(self, name: str) -> MemoryStatus:
        """The camera's memory in numbers, as of its last clip. Does not wait. Raises UnknownCamera."""
        try:
            return self._statuses[name]
        except KeyError:
            raise UnknownCamera(f"camera {name!r}: not on this device") from None

    def ask(
        self,
        camera: str,
        question: str,
        deliver: Deliver,
        *,
        max_answer_tokens: int | None = None,
    ) -> QuestionRequest:
        """Queues a question; `deliver` gets Started, Token and Evidence, then Done or one QuestionError.

        `deliver` is called on the device thread and must not block. Raises InvalidQuestion, UnknownCamera,
        Overloaded at once.
        """
        self.status(camera)
        limit = min(max_answer_tokens or self._config.max_answer_tokens, self._config.max_answer_tokens)
        prompt = questions.parse(
            question,
            self._model.prompts,
            max_chars=self._config.max_question_chars,
            max_tokens=self._config.max_question_tokens,
        )
        ticket = self._questions.add(camera, prompt, deliver, limit)
        self._wake.set()
        return ticket

    def snapshot(self, camera: str, *, is_whole: bool = False) -> Future[Checkpoint]:
        """The camera's global summary tier, or its whole memory, copied off the device when there is time.

        Fails with UnknownCamera.
        """
        return self._later(self._background, lambda: self._snapshot(camera, is_whole))

    def _command(self, work: Callable[[], T]) -> Future[T]:
        return self._later(self._commands, work)

    def _later(self, queue: deque[Callable[[], None]], work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except (CameraError, QuestionError, StoreError) as error:
                future.set_exception(error)

        if self._is_closing:
            future.set_exception(AnswerFailed("device: closing"))
        else:
            queue.append(run)
            self._wake.set()
        return future

    def _run(self) -> None:
        since_s, idle_s = time.monotonic(), 0.0
        try:
            while not self._is_closing:
                while self._commands:
                    self._commands.popleft()()
                if not self._do_one_job():
                    idle_from_s = time.monotonic()
                    self._wake.wait(timeout=1.0)
                    idle_s += time.monotonic() - idle_from_s
                self._wake.clear()
                if (passed_s := time.monotonic() - since_s) > _BUSY_WINDOW_S:
                    self.busy_share = 1.0 - idle_s / passed_s
                    since_s, idle_s = time.monotonic(), 0.0
        finally:
            # Also after an error that nobody foresaw: whoever waits must hear of it.
            self._is_closing = True
            self._questions.fail_all("the device is closing")
            for queue in (self._commands, self._background):
                while queue:
                    queue.popleft()()

    def _do_one_job(self) -> bool:
        """Does one job, if any waits."""
        waiting = {
            Turn.QUESTION: self._questions.has_work(),
            Turn.INGEST: self.clips.has_clips(),
            Turn.BACKGROUND: bool(self._background),
        }
        turn = self._schedule.next_turn({turn for turn, waits in waiting.items() if waits})
        if turn is Turn.QUESTION:
            self._questions.do_one_job(self._cameras)
        elif turn is Turn.INGEST:
            self._ingest(self.clips.take())
        elif turn is Turn.BACKGROUND:
            self._background.popleft()()
        return turn is not None

    def _ingest(self, clip: Clip | None) -> None:
        camera = self._cameras.get(clip.camera) if clip is not None else None
        if clip is None or camera is None:
            return
        try:
            camera.append(clip)
        except RuntimeError as error:
            # One clip that the device cannot take, e.g. out of memory, hurts its own camera only.
            log.error("clip_failed", camera=clip.camera, frames=len(clip.times_s), error=str(error))
        self._publish(camera)

    def _publish(self, camera: CameraMemory) -> None:
        self._statuses[camera.name] = camera.status(self.clips.dropped_frames(camera.name))

    def _add(
        self,
        name: str,
        restored: Checkpoint | None,
        started_s: float,
        gap: Gap | None,
        is_gated: bool = False,
    ) -> None:
        if name in self._cameras:
            raise CameraExists(f"camera {name!r}: on this device already")
        if not self._free_slots:
            raise TooManyCameras(f"camera {name!r}: all {self._config.max_cameras} slots are taken")
        held = Memory(self._slabs, self._free_slots[0])
        camera = CameraMemory(
            name, held, self._keeper, self._gate(is_gated), gap_after_s=self._config.gap_after_s, started_s=started_s
        )
        if restored is not None:
            camera.restore(restored)
        if gap is not None:
            camera.gaps.append(gap)
        self._free_slots.popleft()
        self._cameras[name] = camera
        self._publish(camera)

    def _gate(self, is_gated: bool) -> ChangeGate:
        per_frame = self._model.spec.tokens_per_frame
        if not is_gated:
            return OpenGate(per_frame)
        return StaticGate(per_frame, key_frame_every_s=self._config.key_frame_every_s)

    def _remove(self, name: str) -> None:
        camera = self._cameras.pop(name, None)
        if camera is None:
            raise UnknownCamera(f"camera {name!r}: not on this device")
        del self._statuses[name]
        self._questions.fail_camera(name, f"camera {name!r} was removed")
        self.clips.remove(name)
        camera.memory.clear()
        self._free_slots.append(camera.memory.slot)

    def _snapshot(self, name: str, is_whole: bool) -> Checkpoint:
        camera = self._cameras.get(name)
        if camera is None:
            raise UnknownCamera(f"camera {name!r}: not on this device")
        try:
            return camera.snapshot(self.clips.dropped_frames(name), self._clock(), is_whole=is_whole)
        except RuntimeError as error:
            raise StoreError(f"camera {name!r}: its memory cannot be copied: {error}") from error
