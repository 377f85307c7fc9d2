"""Questions on a device: waiting, running on copies of memories, and what they send back."""

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

Deliver = Callable[[AnswerEvent | QuestionError], None]


@dataclass(slots=True)
class QuestionRequest:
    """One question, from its arrival to its end."""

    camera: str
    prompt: QuestionPrompt
    deliver: Deliver
    max_answer_tokens: int
    asked_at: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Nobody listens any more: the answer stops at its next step and sends nothing."""
        self.is_cancelled = True


@dataclass(slots=True)
class _Running:
    """A question that has a scratch slot; `camera` is asked for pictures when the answer is done."""

    ticket: QuestionRequest
    camera: CameraMemory
    answer: Answer
    first_token_at: float = 0.0
    text: str = ""


class QuestionRunner:
    """The questions of one device. `add` may be called from any thread, the rest on the device thread."""

    def __init__(
        self,
        answering_: AnswerDecoder,
        model_prompts: Prompts,
        scratch: list[Memory],
        *,
        tokens_per_frame: int,
        max_waiting: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answering = answering_
        self._prompts = model_prompts
        self._free = deque(scratch)
        self._tokens_per_frame = tokens_per_frame
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[QuestionRequest] = deque()
        self._running: deque[_Running] = deque()
        self._lock = threading.Lock()

    def add(self, camera: str, prompt: QuestionPrompt, deliver: Deliver, max_answer_tokens: int) -> QuestionRequest:
        """Queues a question. Raises Overloaded."""
        ticket = QuestionRequest(camera, prompt, deliver, max_answer_tokens, asked_at=self._clock())
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise Overloaded(
                    f"question to camera {camera!r}: {len(self._waiting)} wait already (limit {self._max_waiting})"
                )
            self._waiting.append(ticket)
        return ticket

    def has_work(self) -> bool:
        """Whether a job could be done now."""
        return bool(self._running) or bool(self._waiting and self._free)

    def do_one_job(self, cameras: Mapping[str, CameraMemory]) -> None:
        """Starts the oldest waiting question if a slot is free, else writes one token of a running answer."""
        if self._waiting and self._free:
            self._start(self._waiting.popleft(), cameras)
        elif self._running:
            running = self._running.popleft()
            self._attempt(running, lambda: self._answering.step([running.answer]))

    def fail_camera(self, name: str, reason: str) -> None:
        """Ends every question to a camera with AnswerFailed."""
        self._fail(lambda ticket: ticket.camera == name, reason)

    def fail_all(self, reason: str) -> None:
        """Ends every question with AnswerFailed."""
        self._fail(lambda _: True, reason)

    def _start(self, ticket: QuestionRequest, cameras: Mapping[str, CameraMemory]) -> None:
        camera = cameras.get(ticket.camera)
        if ticket.is_cancelled:
            return
        if camera is None:
            ticket.deliver(UnknownCamera(f"camera {ticket.camera!r}: not on this device"))
            return
        copy = self._free.popleft()
        copy.copy_from(camera.memory)
        running = _Running(ticket, camera, Answer(copy, ticket.prompt))
        ticket.deliver(self._started(ticket, camera))
        self._attempt(running, lambda: self._answering.read(running.answer))

    def _started(self, ticket: QuestionRequest, camera: CameraMemory) -> Started:
        return Started(
            answer_id=ticket.id,
            camera=camera.name,
            memory_as_of_s=camera.newest_s or camera.started_s,
            gaps=tuple(camera.gaps),
            warnings=_warnings(ticket.prompt),
        )

    def _attempt(self, running: _Running, job: Callable[[], None]) -> None:
        """One job of an answer; a failure ends that answer only."""
        if running.ticket.is_cancelled:
            self._free.append(running.answer.memory)
            return
        try:
            job()
        except RuntimeError as error:
            self._free.append(running.answer.memory)
            running.ticket.deliver(AnswerFailed(f"answer on camera {running.camera.name!r}: {error}"))
            return
        self._tell(running)

    def _tell(self, running: _Running) -> None:
        """Sends what the last job brought, and ends the answer or leaves it for its next turn."""
        answer, ticket = running.answer, running.ticket
        running.first_token_at = running.first_token_at or self._clock()
        is_ended = self._answering.is_ended(answer)
        text = self._prompts.text(tuple(answer.ids))
        if len(text) > len(running.text):
            ticket.deliver(Token(text[len(running.text) :], len(answer.ids) - 1))
            running.text = text
        if is_ended or len(answer.ids) >= ticket.max_answer_tokens:
            self._finish(running, FinishReason.END if is_ended else FinishReason.MAX_TOKENS)
        else:
            self._running.append(running)

    def _finish(self, running: _Running, reason: FinishReason) -> None:
        answer, ticket = running.answer, running.ticket
        if self._prompts.has_evidence(running.text):
            self._show_evidence(running)
        ticket.deliver(
            Done(
                finish_reason=reason,
                answer=running.text,
                question_tokens=len(ticket.prompt.ids),
                answer_tokens=len(answer.ids),
                time_to_first_token_ms=1000 * (running.first_token_at - ticket.asked_at),
            )
        )
        self._free.append(answer.memory)

    def _show_evidence(self, running: _Running) -> None:
        looked = [(running.answer.remembered(layer), seen) for layer, seen in running.answer.looked.items()]
        for moment in evidence.find_moments(looked, self._tokens_per_frame):
            picture = running.camera.thumbnails.get(moment.frame)
            running.ticket.deliver(Evidence(moment.time_s, moment.weight, picture))

    def _fail(self, concerns: Callable[[QuestionRequest], bool], reason: str) -> None:
        for running in [running for running in self._running if concerns(running.ticket)]:
            self._running.remove(running)
            self._free.append(running.answer.memory)
            running.ticket.deliver(AnswerFailed(reason))
        with self._lock:
            failed = [ticket for ticket in self._waiting if concerns(ticket)]
            self._waiting = deque(ticket for ticket in self._waiting if not concerns(ticket))
        for ticket in failed:
            ticket.deliver(AnswerFailed(reason))


def parse(text: str, words: Prompts, *, max_chars: int, max_tokens: int) -> QuestionPrompt:
    """A question as the model reads it. Raises InvalidQuestion if it is empty or too long."""
    stripped = text.strip()
    if not stripped:
        raise InvalidQuestion("question: empty (at least one word)")
    if len(stripped) > max_chars:
        raise InvalidQuestion(f"question {stripped[:40]!r}…: {len(stripped)} characters (limit {max_chars})")
    prompt = words.question(stripped)
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
            f"the model does not know {words}: the answer may be beside the point",
            prompt.unknown_words,
        ),
    )
