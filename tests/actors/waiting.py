"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def until(is_so: Callable[[], bool | Awaitable[bool]], within_s: float = 120.0) -> float:
    """How long it took. A plain function that blocks is called in a thread."""
    began_at = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await _ask(is_so):  # noqa: ASYNC110 - what is waited for is in another process, or has no event
            await asyncio.sleep(0.02)
    return time.monotonic() - began_at


async def _ask(is_so: Callable[[], bool | Awaitable[bool]]) -> bool:
    if inspect.iscoroutinefunction(is_so):
        return await is_so()
    return bool(await asyncio.to_thread(is_so))
