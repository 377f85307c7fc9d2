"""Background tasks end, and no cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from actors import task_cancellation


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
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


async def test_ending_no_task_returns() -> None:
    await task_cancellation.end()


async def test_work_that_is_carried_out_ends_before_its_caller_s_cancellation() -> None:
    has_begun, may_end, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        has_begun.set()
        await may_end.wait()
        done.append(True)

    caller = asyncio.create_task(task_cancellation.carry_out(work()))
    await has_begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()

    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done


async def test_an_error_of_work_that_is_carried_out_is_raised() -> None:
    async def work() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        await task_cancellation.carry_out(work())
