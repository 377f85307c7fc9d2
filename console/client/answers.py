"""An answer as it was told: the events of one stream put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from protos import hermes_v1_pb2 as pb


@dataclass(frozen=True, slots=True)
class Evidence:
    """A moment that an answer rests on, and its share of the answer's attention."""

    time: datetime
    weight: float
    thumbnail_jpeg: bytes = b""


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer. `ttft_ms` is measured here, from the question to the first word, the way there and back included."""

    camera: str
    question: str
    text: str = ""
    ttft_ms: float | None = None
    memory_as_of: datetime | None = None
    epoch: int = 0  # of the camera's owners, the one that answered
    evidence: list[Evidence] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gaps: list[pb.Gap] = field(default_factory=list)
    is_done: bool = False


def listen(
    camera: str,
    question: str,
    events: Iterable[pb.AskResponse],
    on_text: Callable[[str], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Reads a stream to its end; `on_text` gets every piece of the answer as it comes."""
    told = Answer(camera=camera, question=question)
    asked_at = clock()
    for event in events:
        match event.WhichOneof("event"):
            case "started":
                told.memory_as_of = event.started.memory_as_of.ToDatetime(tzinfo=UTC)
                warnings: list[Any] = list(event.started.warnings)  # its stub takes pb.Warning for the builtin
                told.warnings = [warning.message for warning in warnings]
                told.epoch = event.started.epoch
                told.gaps = list(event.started.gaps)
            case "token":
                if told.ttft_ms is None:
                    told.ttft_ms = 1000 * (clock() - asked_at)
                told.text += event.token.text
                on_text(event.token.text)
            case "evidence":
                moment = event.evidence
                told.evidence.append(Evidence(moment.time.ToDatetime(tzinfo=UTC), moment.weight, moment.thumbnail_jpeg))
            case "done":
                told.text, told.is_done = event.done.answer, True
    return told
