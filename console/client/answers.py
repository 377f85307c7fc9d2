"""An answer as one value: the events of one stream put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from protos import hermes_v1_pb2 as pb


@dataclass(frozen=True, slots=True)
class Evidence:
    """A frame that an answer rests on: its time and its share of the answer's attention weights."""

    time: datetime
    weight: float
    thumbnail_jpeg: bytes = b""


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer. `ttft_ms` is measured by the client, from the question to the first token, network included.

    `epoch`: of the owner that answered; `is_done`: whether the stream ended with Done; `camera_state` and
    `camera_state_since`: of the camera's source when the stream ended.
    """

    camera: str
    question: str
    text: str = ""
    ttft_ms: float | None = None
    memory_as_of: datetime | None = None
    epoch: int = 0
    evidence: list[Evidence] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gaps: list[pb.Gap] = field(default_factory=list)
    camera_id: str = ""
    camera_state: int = pb.CAMERA_STATE_UNSPECIFIED
    camera_state_since: datetime | None = None
    is_done: bool = False

    def observe(self, event: pb.Started | pb.Done) -> None:
        """Takes over what the first and the last event say of the camera."""
        self.camera_id, self.camera_state = event.camera_id, event.camera_state
        if event.HasField("camera_state_since"):
            self.camera_state_since = event.camera_state_since.ToDatetime(tzinfo=UTC)
        warnings: list[Any] = list(event.warnings)  # its stub takes pb.Warning for the builtin
        self.warnings += [warning.message for warning in warnings]


def collect(
    camera: str,
    question: str,
    events: Iterable[pb.AskResponse],
    on_text: Callable[[str], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Reads a stream to its end, and blocks until then; `on_text` gets every token's text when it arrives."""
    answer = Answer(camera=camera, question=question)
    asked_at_s = clock()
    for event in events:
        match event.WhichOneof("event"):
            case "started":
                answer.memory_as_of = event.started.memory_as_of.ToDatetime(tzinfo=UTC)
                answer.observe(event.started)
                answer.epoch = event.started.epoch
                answer.gaps = list(event.started.gaps)
            case "token":
                if answer.ttft_ms is None:
                    answer.ttft_ms = 1000 * (clock() - asked_at_s)
                answer.text += event.token.text
                on_text(event.token.text)
            case "evidence":
                frame = event.evidence
                answer.evidence.append(Evidence(frame.time.ToDatetime(tzinfo=UTC), frame.weight, frame.thumbnail_jpeg))
            case "done":
                answer.observe(event.done)
                answer.text, answer.is_done = event.done.answer, True
    return answer
