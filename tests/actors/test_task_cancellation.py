"""What runs in the background ends, and who leaves has left."""

from __future__ import annotations

import asyncio

import pytest

from actors import task_cancellation
from actors.shard.answer_stream import AnswerStream
from pipeline.answers import Token


async def test_a_task_that_swallows_a_cancellation_is_told_again() -> None:
    swallowed: list[bool] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append(True)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

    await task_cancellation.end(task, retry_after_s=0.01)

    assert swallowed
    assert task.cancelled()


async def test_nothing_to_end_is_ended() -> None:
    await task_cancellation.end()


async def test_who_leaves_while_an_event_comes_has_left() -> None:
    waiting = AnswerStream(asyncio.get_running_loop())
    asking = asyncio.create_task(waiting.next())
    await asyncio.sleep(0)
    waiting.deliver(Token("red", 0))
    await asyncio.sleep(0)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
