"""Bounds how fast one shard's checkpoints go to the store, so that they leave the network to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_NBYTES_A_MB = 1_000_000


class RateLimit:
    """Turns, one after the other, each as long as its bytes take at the bound. None: no bound, and nobody waits."""

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

    async def turn(self, nbytes: int) -> None:
        """Waits until those who asked before have had their time, then takes as much as these bytes need."""
        if self._max_mb_per_s is None:
            return
        now_s = self._clock()
        begins_s = max(now_s, self._free_at_s)
        self._free_at_s = begins_s + nbytes / (self._max_mb_per_s * _NBYTES_A_MB)
        await self._sleep(begins_s - now_s)
