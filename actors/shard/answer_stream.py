"""The events of one answer, passed from the engine's thread to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from pipeline.answers import AnswerEvent, AnswerFailed, Done, OnEvent, QuestionError

_EVENT_TIMEOUT_S = 60.0


class _Ticket(Protocol):
    def cancel(self) -> None: ...


class AnswerStream:
    """Takes events on any thread and returns them on its loop. The answer's token limit bounds its queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: asyncio.Queue[AnswerEvent | QuestionError] = asyncio.Queue()

    def deliver(self, event: AnswerEvent | QuestionError) -> None:
        """Takes an event from any thread; does not block."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self) -> AnswerEvent:
        """Waits for the next event. Raises the QuestionError that ended the answer, AnswerFailed after 60 s."""
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the event.
            async with asyncio.timeout(_EVENT_TIMEOUT_S):
                event = await self._events.get()
        except TimeoutError:
            raise AnswerFailed(f"no token from the device for {_EVENT_TIMEOUT_S:.0f} s (limit)") from None
        if isinstance(event, QuestionError):
            raise event
        return event


async def events_of(
    submit: Callable[[OnEvent], _Ticket], require: Callable[[], None]
) -> AsyncGenerator[AnswerEvent, None]:
    """The events of the question that `submit` queues, Done last. Closing the generator cancels the answer.

    require: called before each event; what it raises ends the answer. Raises QuestionError.
    """
    answer = AnswerStream(asyncio.get_running_loop())
    ticket = submit(answer.deliver)
    try:
        require()
        while True:
            event = await answer.next()
            require()
            yield event
            if isinstance(event, Done):
                return
    finally:
        ticket.cancel()
