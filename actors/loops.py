"""Loops of an event loop that run in the background until they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

_PAUSE_AFTER_ERROR_S = 1.0


async def run_forever(work: Callable[[], Awaitable[None]], *, every_s: float = 0.0) -> None:
    """Runs `work` until cancelled, with a pause in between. An error is logged and does not end the loop."""
    while True:
        try:
            await work()
        except Exception:  # the border of one pass of the loop: the next pass tries again
            log.exception("pass_failed", work=getattr(work, "__qualname__", repr(work)))
            await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
        await asyncio.sleep(every_s)
