"""Ends background tasks of an event loop, and what must not end halfway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_RETRY_AFTER_S = 5.0


async def end(*tasks: asyncio.Future[Any], retry_after_s: float = _RETRY_AFTER_S) -> None:
    """Cancels the tasks and waits until all have ended.

    A task that still runs after `retry_after_s` is cancelled again: some libraries swallow a cancellation that arrives
    at the same moment as the result that they wait for.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=retry_after_s)


async def carry_out(work: Coroutine[Any, Any, None]) -> None:
    """Runs work to its end even if the caller is cancelled meanwhile; the cancellation is raised after that."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
