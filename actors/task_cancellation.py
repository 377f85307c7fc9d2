"""Ends what runs in the background of an event loop."""

from __future__ import annotations

import asyncio

_AGAIN_AFTER_S = 5.0


async def end(*tasks: asyncio.Task[None], again_after_s: float = _AGAIN_AFTER_S) -> None:
    """Cancels them and waits until they have ended.

    One that goes on is told again: libraries are known to swallow a cancellation that comes at the same moment as
    what they wait for.
    """
    going_on = set(tasks)
    while going_on:
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=again_after_s)
