"""The engine of one device: it appends frames to memories and answers questions about them, on one thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from cache_store.checkpoint import Checkpoint
from cache_store.errors import StoreError
from cache_store.gap import Gap
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.answer_decoder import AnswerDecoder
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraExists, MemoryStatus, TooManyCameras
from pipeline.device import questions
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import ChangeGate, OpenGate, StaticGate
from pipeline.device.device_config import DeviceConfig
from pipeline.device.device_thread import DeviceThread
from pipeline.device.questions import OnEvent, QuestionRequest, QuestionRunner
from pipeline.device.scheduler import Scheduler, Turn
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip

log = structlog.get_logger(__name__)

_COMMAND_TIMEOUT_S = 60.0


class Engine:
    """The cameras and questions of one device. Any thread may call it; the work is done on the device thread.

    Feeds put clips into `clips`. Everything else that touches a memory runs as a command between two jobs.
    A job is one clip to ingest, one prefill or one decode step, or one piece of background work.
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
        self._writer = MemoryWriter(model, memory_config, max_frames=config.max_frames_per_step, reserve=reserve)
        capacity = self._writer.capacity
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
        self._scheduler = Scheduler()
        self._thread = DeviceThread(self._run_job, on_stop=lambda: self._questions.fail_all("the device is closing"))
        self.clips = ClipQueue(config.max_queued_clips, on_put=self._thread.wake)

    @property
    def nbytes(self) -> int:
        """Size of all memory slots on the device, used or free."""
        return self._slabs.nbytes

    @property
    def is_running(self) -> bool:
        """False before `start`, after `close`, and after an unexpected error."""
        return self._thread.is_running

    @property
    def busy_share(self) -> float:
        """Share of the last seconds that the device thread did not wait for work, 0..1."""
        return self._thread.busy_share

    def start(self) -> None:
        """Starts the device thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops after the job at hand; every running answer ends with AnswerFailed. Blocks until then."""
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
        its frames are skipped. Raises CameraExists, TooManyCameras, CheckpointCorrupt; then the camera is not added.
        """
        started_s = started_s if started_s is not None else self._clock()
        command = self._thread.command(lambda: self._add(name, checkpoint, started_s, gap, is_gated))
        command.result(_COMMAND_TIMEOUT_S)

    def remove_camera(self, name: str) -> None:
        """Frees the camera's slot; its questions end with AnswerFailed. Blocks until then. Raises UnknownCamera."""
        self._thread.command(lambda: self._remove(name)).result(_COMMAND_TIMEOUT_S)

    def status(self, name: str) -> MemoryStatus:
        """The camera's memory in numbers, as of its last clip. Does not block. Raises UnknownCamera."""
        try:
            return self._statuses[name]
        except KeyError:
            raise UnknownCamera(f"camera {name!r}: not on this device") from None

    def ask(
        self,
        camera: str,
        question: str,
        on_event: OnEvent,
        *,
        max_answer_tokens: int | None = None,
    ) -> QuestionRequest:
        """Queues a question; `on_event` gets Started, Token and Evidence, then Done or one QuestionError.

        `on_event` is called on the device thread and must not block. Raises InvalidQuestion, UnknownCamera,
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
        request = self._questions.add(camera, prompt, on_event, limit)
        self._thread.wake()
        return request

    def snapshot(self, camera: str, *, is_whole: bool = False) -> Future[Checkpoint]:
        """The camera's global summary tier, or its whole memory, copied off the device as background work.

        The future fails with UnknownCamera or StoreError.
        """
        return self._thread.background(lambda: self._snapshot(camera, is_whole))

    def _run_job(self) -> bool:
        """Runs the job whose turn it is; False if there is none."""
        has_work = {
            Turn.QUESTION: self._questions.has_work(),
            Turn.INGEST: self.clips.has_clips(),
            Turn.BACKGROUND: self._thread.has_background_job,
        }
        turn = self._scheduler.next_turn({turn for turn, is_waiting in has_work.items() if is_waiting})
        if turn is Turn.QUESTION:
            self._questions.run_job(self._cameras)
        elif turn is Turn.INGEST:
            self._ingest(self.clips.take())
        elif turn is Turn.BACKGROUND:
            self._thread.run_background_job()
        return turn is not None

    def _ingest(self, clip: Clip | None) -> None:
        camera = self._cameras.get(clip.camera) if clip is not None else None
        if clip is None or camera is None:
            return
        try:
            camera.append(clip)
        except RuntimeError as error:
            # A clip that fails, e.g. because the device is out of memory, costs its own camera only.
            log.error("clip_failed", camera=clip.camera, frames=len(clip.times_s), reason=str(error))
        self._publish(camera)

    def _publish(self, camera: CameraMemory) -> None:
        self._statuses[camera.name] = camera.status(self.clips.dropped_frames(camera.name))

    def _add(self, name: str, checkpoint: Checkpoint | None, started_s: float, gap: Gap | None, is_gated: bool) -> None:
        if name in self._cameras:
            raise CameraExists(f"camera {name!r}: on this device already")
        if not self._free_slots:
            raise TooManyCameras(f"camera {name!r}: all {self._config.max_cameras} slots are taken")
        camera = CameraMemory(
            name,
            Memory(self._slabs, self._free_slots[0]),
            self._writer,
            self._gate(is_gated),
            gap_after_s=self._config.gap_after_s,
            started_s=started_s,
        )
        if checkpoint is not None:
            camera.restore(checkpoint)
        if gap is not None:
            camera.gaps.append(gap)
        self._free_slots.popleft()
        self._cameras[name] = camera
        self._publish(camera)

    def _gate(self, is_gated: bool) -> ChangeGate:
        tokens_per_frame = self._model.spec.tokens_per_frame
        if not is_gated:
            return OpenGate(tokens_per_frame)
        return StaticGate(tokens_per_frame, key_frame_every_s=self._config.key_frame_every_s)

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
