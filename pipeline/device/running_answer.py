"""One answer that has a slot: what its listener gets, event by event."""

from __future__ import annotations

from dataclasses import dataclass

from models.answer_decoder import Answer
from models.prompts import Prompts
from pipeline.answers import Done, Evidence, FinishReason, Started, Token
from pipeline.device import evidence, question_request
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.question_request import QuestionRequest


@dataclass(slots=True, eq=False)
class RunningAnswer:
    """A question that has a slot; `camera` provides the thumbnails of its evidence.

    Its methods call the listener, and raise what that raises.
    """

    request: QuestionRequest
    camera: CameraMemory
    answer: Answer
    first_token_at: float = 0.0
    text: str = ""

    def send_started(self) -> None:
        """Sends Started."""
        self.request.on_event(
            Started(
                answer_id=self.request.id,
                camera=self.camera.name,
                memory_as_of_s=self.camera.newest_s or self.camera.started_s,
                gaps=self.camera.gaps,
                warnings=question_request.warnings(self.request.prompt),
            )
        )

    def send_token(self, prompts: Prompts, now_s: float, *, is_ended: bool) -> bool:
        """Sends the text of the newest token, and the end where the answer is complete. -> whether it is"""
        answer, request = self.answer, self.request
        self.first_token_at = self.first_token_at or now_s
        text = prompts.decode(tuple(answer.ids[:-1] if is_ended else answer.ids))
        if len(text) > len(self.text):
            request.on_event(Token(text[len(self.text) :], len(answer.ids) - 1))
            self.text = text
        if not is_ended and len(answer.ids) < request.max_answer_tokens:
            return False
        if prompts.has_evidence(self.text):
            self._send_evidence()
        self._send_done(FinishReason.END if is_ended else FinishReason.MAX_TOKENS)
        return True

    def _send_evidence(self) -> None:
        answer = self.answer
        attention = [(answer.cached_tokens(layer), weights) for layer, weights in answer.attention_weights.items()]
        for moment in evidence.find_moments(attention):
            thumbnail = self.camera.thumbnails.get(moment.frame)
            self.request.on_event(Evidence(moment.time_s, moment.weight, thumbnail))

    def _send_done(self, reason: FinishReason) -> None:
        request = self.request
        request.on_event(
            Done(
                finish_reason=reason,
                answer=self.text,
                question_tokens=len(request.prompt.ids),
                answer_tokens=len(self.answer.ids),
                time_to_first_token_ms=1000 * (self.first_token_at - request.submitted_at),
            )
        )
