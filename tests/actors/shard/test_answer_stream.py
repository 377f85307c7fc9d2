"""The events of one answer, from any thread to the event loop."""

from __future__ import annotations

import asyncio

import pytest

from actors.shard.answer_stream import AnswerStream
from pipeline.answers import AnswerFailed, Token


async def test_events_of_another_thread_arrive_in_order() -> None:
    stream = AnswerStream(asyncio.get_running_loop())

    await asyncio.to_thread(lambda: [stream.deliver(Token(str(index), index)) for index in range(3)])

    assert [await stream.next() for _ in range(3)] == [Token("0", 0), Token("1", 1), Token("2", 2)]


async def test_the_error_that_ends_an_answer_is_raised() -> None:
    stream = AnswerStream(asyncio.get_running_loop())
    stream.deliver(AnswerFailed("camera 'gate' was removed"))

    with pytest.raises(AnswerFailed, match="'gate' was removed"):
        await stream.next()


async def test_a_cancellation_at_the_moment_of_an_event_is_not_lost() -> None:
    stream = AnswerStream(asyncio.get_running_loop())
    reader = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    stream.deliver(Token("red", 0))
    await asyncio.sleep(0)

    reader.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reader
