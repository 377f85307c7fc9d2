"""The questions of one device: they wait, run in batches behind copies of memories, and send their events back."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice

from models.answer_decoder import Answer, AnswerDecoder, NextToken
from models.prompts import Prompts
from ops.device_timer import DeviceTimer
from pipeline.answers import ANYBODY, AnswerFailed, Caller, OnEvent, UnknownCamera
from pipeline.device import job_guard, question_request, running_mean
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.device_config import DeviceConfig
from pipeline.device.device_thread import STOPPED, Job
from pipeline.device.failure_report import FailureReport, to_logging
from pipeline.device.question_queue import QuestionQueue
from pipeline.device.question_request import QuestionRequest
from pipeline.device.running_answer import RunningAnswer
from pipeline.device.scheduler import Turn, Work


class QuestionRunner:
    """The waiting and running questions of one device. Any thread may call `add`, the device thread the rest.

    Whatever fails, a pass, the numbers of the model or a listener, ends its own question: a pass of several that fails
    is done again one by one.
    """

    def __init__(
        self,
        decoder: AnswerDecoder,
        prompts: Prompts,
        slots: AnswerSlots,
        config: DeviceConfig,
        clock: Callable[[], float] = time.monotonic,
        report: FailureReport = to_logging,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._slots = slots
        self._clock = clock
        self._report = report
        self._config = config
        self._queue = QuestionQueue(config.max_waiting_questions)
        self._due: list[QuestionRequest] = []  # those that wait and could have a slot now
        self._running: deque[RunningAnswer] = deque()
        self.prefill_s = 0.0  # seconds that the pass up to a first token takes: a mean of the newest ones
        self._is_closed = False
        self._lock = threading.Lock()  # held to queue a question, and to refuse all further ones

    def add(
        self,
        camera: str,
        question: str,
        on_event: OnEvent,
        *,
        max_answer_tokens: int | None = None,
        caller: Caller = ANYBODY,
    ) -> QuestionRequest:
        """Queues a question, see Engine.ask.

        Raises InvalidQuestion, Overloaded, QuestionExpired, and AnswerFailed after `close`.
        """
        limits, now_s = self._config, self._clock()
        prompt = question_request.parse(
            question, self._prompts, max_chars=limits.max_question_chars, max_tokens=limits.max_question_tokens
        )
        num_tokens = min(max_answer_tokens or limits.max_answer_tokens, limits.max_answer_tokens)
        request = QuestionRequest(
            camera, prompt, on_event, num_tokens, submitted_at=now_s, caller=caller, report=self._report
        )
        if request.has_expired(now_s):
            raise request.expired()
        with self._lock:
            if self._is_closed:
                raise AnswerFailed(f"question to camera {camera!r}: {STOPPED}")
            self._queue.put(request)
        return request

    def end_unanswerable(self, cameras: Mapping[str, CameraMemory]) -> None:
        """Ends the questions past their deadline, waiting or running, and those displaced or without a camera."""
        for request in self._queue.take_displaced():
            request.end(self._queue.overloaded(request))
        now_s = self._clock()
        for request in self._remove(lambda request: request.has_expired(now_s)):
            request.end(request.expired())
        for request in self._remove(lambda request: request.camera not in cameras, keeps_running=True):
            request.end(UnknownCamera(f"camera {request.camera!r}: not on this device"))

    def waiting(self, cameras: Mapping[str, CameraMemory]) -> dict[Work, list[int]]:
        """The tokens of each question that can have a slot now, and of each running answer's next step.

        To be called after `end_unanswerable`. One that came since then, to a camera that is gone, is ended next time.
        The first question that finds no copy of its memory holds up the others, so that it does not wait for ever.
        """
        first = [request for request in self._queue.first(self._slots.num_free) if request.camera in cameras]
        # Kept for `next_job`, because a question that is added until then may come before these.
        self._due = first[: self._slots.num_ready(cameras[request.camera].memory for request in first)]
        return {Work.PREFILL: [request.num_tokens for request in self._due], Work.DECODE: [1] * len(self._running)}

    def next_job(self, turn: Turn, cameras: Mapping[str, CameraMemory]) -> Job:
        """Prefills the first questions of `waiting`, or decodes one token of the answers whose turn it is."""
        if turn.work is Work.PREFILL:
            requests = self._due[: turn.count]
            self._queue.take(requests)
            return self._job(requests, lambda: self._prefill(requests, cameras))
        batch = list(islice(self._running, turn.count))
        self._running.rotate(-turn.count)
        return self._job([running.request for running in batch], lambda: self._decode(batch))

    def fail_camera(self, name: str, reason: str, *, keeps_running: bool = False) -> None:
        """Ends every question to a camera with AnswerFailed, or only those that wait."""
        for request in self._remove(lambda request: request.camera == name, keeps_running=keeps_running):
            request.end(AnswerFailed(reason))

    def close(self) -> None:
        """Ends every question with AnswerFailed, and refuses all further ones."""
        with self._lock:
            self._is_closed = True
        for request in self._remove(lambda _: True):
            request.end(AnswerFailed(STOPPED))

    def _job(self, requests: Sequence[QuestionRequest], run: Callable[[], None]) -> Job:
        def fail(error: Exception) -> None:
            for request in requests:
                self._release(request)
                request.end(AnswerFailed(str(error)))

        return Job(f"{len(requests)} answers", run, fail)

    def _prefill(self, requests: Sequence[QuestionRequest], cameras: Mapping[str, CameraMemory]) -> None:
        for request in requests:
            with self._failing(request):
                self._begin(request, cameras)
        begun = [running for running in self._running if running.request in requests]
        if not begun:
            return  # all were cancelled or failed: how long a prefill takes is not seen
        # Without what a GPU still had to do of the job before, e.g. encode frames.
        timer = DeviceTimer(self._slots.slabs.copies.shape.device, self._clock)
        self._step(begun)
        timer.stop()
        self.prefill_s = running_mean.mean(self.prefill_s, timer.seconds)

    def _begin(self, request: QuestionRequest, cameras: Mapping[str, CameraMemory]) -> None:
        if request.is_cancelled:
            return
        camera = cameras[request.camera]
        memory = self._slots.acquire(camera.memory)
        running = RunningAnswer(request, camera, Answer(memory, request.prompt))
        # From here on until `_release` that memory is this question's.
        self._running.append(running)
        running.send_started()

    def _decode(self, batch: Sequence[RunningAnswer]) -> None:
        for running in batch:
            if running.request.is_cancelled:
                self._release(running.request)
        if batch := [running for running in batch if not running.request.is_cancelled]:
            self._step(batch)

    def _step(self, batch: Sequence[RunningAnswer]) -> None:
        for running, token in self._next_tokens(batch):
            with self._failing(running.request):
                self._advance(running, token)

    def _next_tokens(self, batch: Sequence[RunningAnswer]) -> list[tuple[RunningAnswer, NextToken]]:
        """One pass, or one for each answer if that fails: those that fail alone end and are left out."""
        # In the order of their slots, because neighbours are read together: first those behind their copies.
        batch = sorted(batch, key=lambda running: (running.answer.memory.base is not None, running.answer.memory.slot))
        return job_guard.in_one_pass(
            batch,
            lambda batch: self._decoder.next_tokens([running.answer for running in batch]),
            fail=lambda running, error: self._fail(running.request, error),
            report=lambda error: self._report("answer_batch_failed", answers=len(batch), reason=repr(error)),
        )

    def _advance(self, running: RunningAnswer, token: NextToken) -> None:
        self._decoder.append(running.answer, token)
        if running.send_token(self._prompts, self._clock(), is_ended=self._decoder.is_ended(running.answer)):
            self._release(running.request)

    def _failing(self, request: QuestionRequest) -> AbstractContextManager[None]:
        """For what is of one question alone; its failure ends that question."""
        return job_guard.ends_with(lambda error: self._fail(request, error))

    def _fail(self, request: QuestionRequest, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        about = {"camera": request.camera, "answer_id": request.id}
        self._report("answer_failed", **about, reason=repr(error), traceback=trace)
        self._release(request)
        request.end(
            AnswerFailed(f"answer {request.id} on camera {request.camera!r}: the device failed: {type(error).__name__}")
        )

    def _remove(
        self, is_meant: Callable[[QuestionRequest], bool], *, keeps_running: bool = False
    ) -> list[QuestionRequest]:
        """Takes questions out of the queue and out of their slots."""
        removed = self._queue.remove(is_meant)
        if not keeps_running:
            removed += [running.request for running in self._running if is_meant(running.request)]
        for request in removed:
            self._release(request)
        return removed

    def _release(self, request: QuestionRequest) -> None:
        """Frees the slot of a question, if it has one."""
        for running in [running for running in self._running if running.request is request]:
            self._running.remove(running)
            self._slots.release(running.answer.memory)
