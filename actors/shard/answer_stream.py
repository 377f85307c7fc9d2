"""The events of one answer, from the device thread to the event loop."""

from __future__ import annotations

import asyncio

from pipeline.answers import AnswerEvent, AnswerFailed, QuestionError

_STEP_TIMEOUT_S = 60.0


class AnswerStream:
    """Takes events on any thread and gives them on its loop. An answer's token limit is its bound."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: asyncio.Queue[AnswerEvent | QuestionError] = asyncio.Queue()

    def deliver(self, event: AnswerEvent | QuestionError) -> None:
        """Takes an event from any thread; does not block."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self) -> AnswerEvent:
        """The next event. Raises the QuestionError that ended the answer, AnswerFailed if nothing comes for long."""
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the event.
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                event = await self._events.get()
        except TimeoutError:
            raise AnswerFailed(f"no word from the device for {_STEP_TIMEOUT_S:.0f} s") from None
        if isinstance(event, QuestionError):
            raise event
        return event
