"""The questions of one device: they wait, run on copies of memories, and send their events back."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cache_store.memory import Memory
from models.answer_decoder import Answer, AnswerDecoder
from models.prompts import Prompts, QuestionPrompt
from pipeline.answers import (
    AnswerEvent,
    AnswerFailed,
    AnswerWarning,
    Done,
    Evidence,
    FinishReason,
    InvalidQuestion,
    Overloaded,
    QuestionError,
    Started,
    Token,
    UnknownCamera,
    WarningCode,
)
from pipeline.device import evidence
from pipeline.device.camera_memory import CameraMemory

OnEvent = Callable[[AnswerEvent | QuestionError], None]


@dataclass(slots=True)
class QuestionRequest:
    """One question, from its arrival to its end."""

    camera: str
    prompt: QuestionPrompt
    on_event: OnEvent
    max_answer_tokens: int
    submitted_at: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Stops the answer at its next step; no further event is sent. Any thread may call it."""
        self.is_cancelled = True


@dataclass(slots=True)
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
        tokens_per_frame: int,
        max_waiting: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._free = deque(scratch)
        self._tokens_per_frame = tokens_per_frame
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[QuestionRequest] = deque()
        self._running: deque[_RunningAnswer] = deque()
        self._lock = threading.Lock()

    def add(self, camera: str, prompt: QuestionPrompt, on_event: OnEvent, max_answer_tokens: int) -> QuestionRequest:
        """Queues a question. Raises Overloaded."""
        request = QuestionRequest(camera, prompt, on_event, max_answer_tokens, submitted_at=self._clock())
        with self._lock:
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

    def run_job(self, cameras: Mapping[str, CameraMemory]) -> None:
        """Prefills the oldest waiting question if a scratch slot is free, else decodes one token of an answer."""
        if self._waiting and self._free:
            self._start(self._waiting.popleft(), cameras)
        elif self._running:
            running = self._running.popleft()
            self._attempt(running, lambda: self._decoder.decode_step([running.answer]))

    def fail_camera(self, name: str, reason: str) -> None:
        """Ends every question to a camera with AnswerFailed."""
        self._fail(lambda request: request.camera == name, reason)

    def fail_all(self, reason: str) -> None:
        """Ends every question with AnswerFailed."""
        self._fail(lambda _: True, reason)

    def _start(self, request: QuestionRequest, cameras: Mapping[str, CameraMemory]) -> None:
        camera = cameras.get(request.camera)
        if request.is_cancelled:
            return
        if camera is None:
            request.on_event(UnknownCamera(f"camera {request.camera!r}: not on this device"))
            return
        copy = self._free.popleft()
        copy.copy_from(camera.memory)
        running = _RunningAnswer(request, camera, Answer(copy, request.prompt))
        request.on_event(self._started(request, camera))
        self._attempt(running, lambda: self._decoder.prefill(running.answer))

    def _started(self, request: QuestionRequest, camera: CameraMemory) -> Started:
        return Started(
            answer_id=request.id,
            camera=camera.name,
            memory_as_of_s=camera.newest_s or camera.started_s,
            gaps=tuple(camera.gaps),
            warnings=_warnings(request.prompt),
        )

    def _attempt(self, running: _RunningAnswer, job: Callable[[], None]) -> None:
        """Runs one job of an answer; a failure ends that answer only."""
        if running.request.is_cancelled:
            self._free.append(running.answer.memory)
            return
        try:
            job()
        except RuntimeError as error:
            self._free.append(running.answer.memory)
            running.request.on_event(AnswerFailed(f"answer on camera {running.camera.name!r}: {error}"))
            return
        self._advance(running)

    def _advance(self, running: _RunningAnswer) -> None:
        """Sends the text of the last job, then ends the answer or queues it for its next turn."""
        answer, request = running.answer, running.request
        running.first_token_at = running.first_token_at or self._clock()
        is_ended = self._decoder.is_ended(answer)
        text = self._prompts.decode(tuple(answer.ids))
        if len(text) > len(running.text):
            request.on_event(Token(text[len(running.text) :], len(answer.ids) - 1))
            running.text = text
        if is_ended or len(answer.ids) >= request.max_answer_tokens:
            self._finish(running, FinishReason.END if is_ended else FinishReason.MAX_TOKENS)
        else:
            self._running.append(running)

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
        self._free.append(answer.memory)

    def _send_evidence(self, running: _RunningAnswer) -> None:
        answer = running.answer
        attention = [(answer.cached_tokens(layer), weights) for layer, weights in answer.attention_weights.items()]
        for moment in evidence.find_moments(attention, self._tokens_per_frame):
            thumbnail = running.camera.thumbnails.get(moment.frame)
            running.request.on_event(Evidence(moment.time_s, moment.weight, thumbnail))

    def _fail(self, is_meant: Callable[[QuestionRequest], bool], reason: str) -> None:
        for running in [running for running in self._running if is_meant(running.request)]:
            self._running.remove(running)
            self._free.append(running.answer.memory)
            running.request.on_event(AnswerFailed(reason))
        with self._lock:
            failed = [request for request in self._waiting if is_meant(request)]
            self._waiting = deque(request for request in self._waiting if not is_meant(request))
        for request in failed:
            request.on_event(AnswerFailed(reason))


def parse(text: str, prompts: Prompts, *, max_chars: int, max_tokens: int) -> QuestionPrompt:
    """The prompt of a question. Raises InvalidQuestion if it is empty or too long."""
    stripped = text.strip()
    if not stripped:
        raise InvalidQuestion("question: empty (at least one word)")
    if len(stripped) > max_chars:
        raise InvalidQuestion(f"question {stripped[:40]!r}…: {len(stripped)} characters (limit {max_chars})")
    prompt = prompts.question(stripped)
    if len(prompt.ids) > max_tokens:
        raise InvalidQuestion(f"question {stripped[:40]!r}…: {len(prompt.ids)} tokens (limit {max_tokens})")
    return prompt


def _warnings(prompt: QuestionPrompt) -> tuple[AnswerWarning, ...]:
    if not prompt.unknown_words:
        return ()
    words = ", ".join(repr(word) for word in prompt.unknown_words)
    return (
        AnswerWarning(
            WarningCode.UNKNOWN_WORDS,
            f"the model does not know {words}: the answer may be wrong",
            prompt.unknown_words,
        ),
    )
