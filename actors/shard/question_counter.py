"""The questions of one shard in numbers: how many wait and run, and how long they waited for their first token."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.shard.shard_counts import Histogram, QuestionCounts
from actors.tracing.tracer import NoSpan, Span
from pipeline.answers import AnswerEvent, Done, Started, Token


class QuestionCounter:
    """Follows each question from its arrival to its end. One event loop owns it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting = 0
        self._running = 0
        self._wait_s = Histogram()
        self._prefill_s = Histogram()
        self._clock = clock
        self._idle = asyncio.Event()
        self._idle.set()

    async def until_idle(self, timeout_s: float) -> None:
        """Waits until no question waits or runs, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    def counts(self) -> QuestionCounts:
        """An immutable copy."""
        return QuestionCounts(
            waiting=self._waiting,
            running=self._running,
            wait_s=self._wait_s.counts(),
            prefill_s=self._prefill_s.counts(),
        )

    @contextmanager
    def question(self, span: Span | None = None) -> Iterator[Callable[[AnswerEvent], None]]:
        """Counts one question during the block, which must pass every event of its answer to what it gets.

        span: gets the stages queue, prefill and decode.
        """
        span = span or NoSpan()
        span.stage("queue")
        asked_s = self._clock()
        started_s: float | None = None
        has_token = False

        def observe(event: AnswerEvent) -> None:
            nonlocal started_s, has_token
            if isinstance(event, Started) and started_s is None:
                started_s = self._clock()
                span.stage("prefill")
                self._wait_s.observe(started_s - asked_s)
                self._waiting, self._running = self._waiting - 1, self._running + 1
            elif isinstance(event, Token | Done) and started_s is not None and not has_token:
                has_token = True
                span.event("first token")
                span.stage("decode")
                self._prefill_s.observe(self._clock() - started_s)

        self._waiting += 1
        self._idle.clear()
        try:
            yield observe
        finally:
            if started_s is None:
                self._waiting -= 1
            else:
                self._running -= 1
            if not self._waiting + self._running:
                self._idle.set()
