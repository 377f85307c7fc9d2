"""Waits until a condition holds, with a deadline, in real time. For virtual time see tests.virtual_time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

Condition = Callable[[], bool | Awaitable[bool]]

_POLL_S = 0.02


async def until(condition: Condition, timeout_s: float = 120.0) -> float:
    """Waits for the condition; returns the seconds that it took. A plain function runs in a thread, so it may block."""
    started_s = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not await _holds(condition):  # noqa: ASYNC110 - the condition is in another process, or has no event
            await asyncio.sleep(_POLL_S)
    return time.monotonic() - started_s


async def _holds(condition: Condition) -> bool:
    if inspect.iscoroutinefunction(condition):
        return await condition()
    return bool(await asyncio.to_thread(condition))
