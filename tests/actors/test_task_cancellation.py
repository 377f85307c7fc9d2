"""Background tasks end, and no cancellation is lost."""

from __future__ import annotations

import asyncio

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
