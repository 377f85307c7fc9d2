"""The questions of one device: they wait, run on copies of memories, and send their events back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cache_store.memory import Memory
from models.answer_decoder import Answer, AnswerDecoder
from models.prompts import Prompts, QuestionPrompt
from pipeline.answers import (
    AnswerFailed,
    Done,
    Evidence,
    FinishReason,
    Overloaded,
    Started,
    Token,
    UnknownCamera,
)
from pipeline.device import evidence, question_request
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.device_thread import STOPPED, Job
from pipeline.device.question_request import OnEvent, QuestionRequest


@dataclass(slots=True, eq=False)
class _RunningAnswer:
    """A question that has a scratch slot; `camera` provides the thumbnails of its evidence."""

    request: QuestionRequest
    camera: CameraMemory
    answer: Answer
    first_token_at: float = 0.0
    text: str = ""


class QuestionRunner:
    """The waiting and running questions of one device. Any thread may call `add`, the device thread the rest."""

    def __init__(
        self,
        decoder: AnswerDecoder,
        prompts: Prompts,
        scratch: list[Memory],
        *,
        max_waiting: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._free = deque(scratch)
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[QuestionRequest] = deque()
        self._running: deque[_RunningAnswer] = deque()
        self._is_closed = False
        self._lock = threading.Lock()  # of what other threads change: the waiting, and whether more may come

    def add(self, camera: str, prompt: QuestionPrompt, on_event: OnEvent, max_answer_tokens: int) -> QuestionRequest:
        """Queues a question. Raises Overloaded, and AnswerFailed after `close`."""
        request = QuestionRequest(camera, prompt, on_event, max_answer_tokens, submitted_at=self._clock())
        with self._lock:
            if self._is_closed:
                raise AnswerFailed(f"question to camera {camera!r}: {STOPPED}")
            self._waiting = deque(other for other in self._waiting if not other.is_cancelled)
            if len(self._waiting) >= self._max_waiting:
                raise Overloaded(
                    f"question to camera {camera!r}: {len(self._waiting)} questions wait already "
                    f"(limit {self._max_waiting})"
                )
            self._waiting.append(request)
        return request

    def has_work(self) -> bool:
        """Whether a job can be done now."""
        return bool(self._running) or bool(self._waiting and self._free)

    def next_job(self, cameras: Mapping[str, CameraMemory]) -> Job:
        """Prefills the oldest waiting question if a scratch slot is free, else decodes one token of an answer.

        Only if `has_work`. If the job fails, its question ends with AnswerFailed.
        """
        if self._free and self._waiting:
            with self._lock:
                request = self._waiting.popleft()
            return self._job(request, lambda: self._prefill(request, cameras))
        running = self._running[0]
        return self._job(running.request, lambda: self._decode(running))

    def fail_camera(self, name: str, reason: str, *, keeps_running: bool = False) -> None:
        """Ends every question to a camera with AnswerFailed, or only those that wait."""
        self._fail(lambda request: request.camera == name, reason, keeps_running=keeps_running)

    def close(self) -> None:
        """Ends every question with AnswerFailed, and refuses all further ones."""
        with self._lock:
            self._is_closed = True
        self._fail(lambda _: True, STOPPED)

    def _job(self, request: QuestionRequest, run: Callable[[], None]) -> Job:
        def fail(error: Exception) -> None:
            self._release(request)
            request.fail(str(error))

        about = {"camera": request.camera, "answer_id": request.id}
        return Job(f"answer on camera {request.camera!r}", run, fail, about)

    def _prefill(self, request: QuestionRequest, cameras: Mapping[str, CameraMemory]) -> None:
        if request.is_cancelled:
            return
        camera = cameras.get(request.camera)
        if camera is None:
            request.on_event(UnknownCamera(f"camera {request.camera!r}: not on this device"))
            return
        copy = self._free[0]
        copy.copy_from(camera.memory)
        running = _RunningAnswer(request, camera, Answer(copy, request.prompt))
        # From here on until `_release` the slot is this question's.
        self._running.append(running)
        self._free.popleft()
        request.on_event(self._started(request, camera))
        self._decoder.prefill(running.answer)
        self._advance(running)

    def _decode(self, running: _RunningAnswer) -> None:
        self._running.rotate(-1)
        if running.request.is_cancelled:
            self._release(running.request)
            return
        self._decoder.decode_step([running.answer])
        self._advance(running)

    def _started(self, request: QuestionRequest, camera: CameraMemory) -> Started:
        return Started(
            answer_id=request.id,
            camera=camera.name,
            memory_as_of_s=camera.newest_s or camera.started_s,
            gaps=camera.gaps,
            warnings=question_request.warnings(request.prompt),
        )

    def _advance(self, running: _RunningAnswer) -> None:
        """Sends the text of the last job, and ends the answer where it is complete."""
        answer, request = running.answer, running.request
        running.first_token_at = running.first_token_at or self._clock()
        is_ended = self._decoder.is_ended(answer)
        text = self._prompts.decode(tuple(answer.ids[:-1] if is_ended else answer.ids))
        if len(text) > len(running.text):
            request.on_event(Token(text[len(running.text) :], len(answer.ids) - 1))
            running.text = text
        if is_ended or len(answer.ids) >= request.max_answer_tokens:
            self._finish(running, FinishReason.END if is_ended else FinishReason.MAX_TOKENS)

    def _finish(self, running: _RunningAnswer, reason: FinishReason) -> None:
        answer, request = running.answer, running.request
        if self._prompts.has_evidence(running.text):
            self._send_evidence(running)
        request.on_event(
            Done(
                finish_reason=reason,
                answer=running.text,
                question_tokens=len(request.prompt.ids),
                answer_tokens=len(answer.ids),
                time_to_first_token_ms=1000 * (running.first_token_at - request.submitted_at),
            )
        )
        self._release(request)

    def _send_evidence(self, running: _RunningAnswer) -> None:
        answer = running.answer
        attention = [(answer.cached_tokens(layer), weights) for layer, weights in answer.attention_weights.items()]
        for moment in evidence.find_moments(attention):
            thumbnail = running.camera.thumbnails.get(moment.frame)
            running.request.on_event(Evidence(moment.time_s, moment.weight, thumbnail))

    def _fail(self, is_meant: Callable[[QuestionRequest], bool], reason: str, *, keeps_running: bool = False) -> None:
        with self._lock:
            failed = [request for request in self._waiting if is_meant(request)]
            self._waiting = deque(request for request in self._waiting if not is_meant(request))
        if not keeps_running:
            failed += [running.request for running in self._running if is_meant(running.request)]
        for request in failed:
            self._release(request)
            request.fail(reason)

    def _release(self, request: QuestionRequest) -> None:
        """Frees the scratch slot of a question, if it has one."""
        for running in [running for running in self._running if running.request is request]:
            self._running.remove(running)
            self._free.append(running.answer.memory)
