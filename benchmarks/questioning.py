"""Questions to every camera all the time, and what became of each. For measurements of what interrupts answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from actors import task_cancellation
from actors.errors import ServiceError
from actors.fleet.fleet import Fleet
from cache_store.errors import StoreError
from pipeline.answers import Done, QuestionError

_QUESTION = "what is in view"
_PAUSE_S = 1.0  # between an answer's end and the next question to its camera
_RETRY_S = 0.1
_ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of the questions of some time.

    refused: an error came before the first word. lost: the first word came, the end of the answer never.
    longest_wait_s: the longest time that a camera had a question and gave no first word, over refused questions too.
    """

    answered: int = 0
    refused: int = 0
    lost: int = 0
    longest_wait_s: float = 0.0


class Questioning:
    """Asks each of these cameras without end, one question at a time for each."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._answers = Answers()
        self._waiting_since_s: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def running(self, names: Sequence[str]) -> AsyncIterator[None]:
        """Asks during the block."""
        tasks = [asyncio.create_task(self._ask_forever(name)) for name in names]
        try:
            yield
        finally:
            await task_cancellation.end(*tasks)

    def take(self) -> Answers:
        """What became of the questions since the last call. Waits that go on count as far as they went."""
        now_s = time.monotonic()
        for since_s in self._waiting_since_s.values():
            self._note_wait(now_s - since_s)
        taken, self._answers = self._answers, Answers()
        return taken

    async def until_answer(self, name: str) -> None:
        """Asks one camera, which is asked by nobody else, until it answers. Its wait is not recorded."""
        while not await self._ask(name):  # noqa: ASYNC110 - a refusal is the answer to a question, not an event
            await asyncio.sleep(_RETRY_S)

    async def _ask_forever(self, name: str) -> None:
        while True:
            self._waiting_since_s.setdefault(name, time.monotonic())
            is_answered = await self._ask(name)
            await asyncio.sleep(_PAUSE_S if is_answered else _RETRY_S)

    async def _ask(self, name: str) -> bool:
        """Whether the answer came whole."""
        has_begun = is_done = False
        try:
            async with (
                asyncio.timeout(_ANSWER_TIMEOUT_S),
                contextlib.aclosing(self._fleet.ask(name, _QUESTION)) as events,
            ):
                async for event in events:
                    has_begun = True
                    self._end_wait(name)
                    is_done |= isinstance(event, Done)
        except (ServiceError, QuestionError, StoreError, TimeoutError) as error:
            if has_begun:
                print(f"{name}: the answer broke off: {error}", file=sys.stderr, flush=True)
        before = self._answers
        self._answers = replace(
            before,
            answered=before.answered + is_done,
            refused=before.refused + (not has_begun),
            lost=before.lost + (has_begun and not is_done),
        )
        return is_done

    def _end_wait(self, name: str) -> None:
        since_s = self._waiting_since_s.pop(name, None)
        if since_s is not None:
            self._note_wait(time.monotonic() - since_s)

    def _note_wait(self, wait_s: float) -> None:
        self._answers = replace(self._answers, longest_wait_s=max(self._answers.longest_wait_s, wait_s))
