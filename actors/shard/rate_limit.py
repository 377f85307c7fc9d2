"""Bounds the rate at which one shard writes checkpoints, so that other users of the network keep their share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_NBYTES_A_MB = 1_000_000


class RateLimit:
    """Lets writes start one after the other, each after the time that the bytes before it take. None: no limit."""

    def __init__(
        self,
        max_mb_per_s: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._max_mb_per_s = max_mb_per_s
        self._clock = clock
        self._sleep = sleep
        self._free_at_s = clock()

    async def wait(self, nbytes: int) -> None:
        """Waits until the writes before this one have had their time, then reserves the time of `nbytes`."""
        if self._max_mb_per_s is None:
            return
        now_s = self._clock()
        start_s = max(now_s, self._free_at_s)
        self._free_at_s = start_s + nbytes / (self._max_mb_per_s * _NBYTES_A_MB)
        await self._sleep(start_s - now_s)
