"""How far the clocks of two machines differ, by what shards say of their clocks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.shard.interface import Shard


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How far a shard's clock is ahead of the event loop's, and by how much that may be wrong, in seconds."""

    ahead_s: float
    error_s: float


async def read(shard: Shard) -> ClockReading | None:
    """The reading of a shard's clock now; None of a version that does not say. Raises what `Shard.status` raises."""
    loop = asyncio.get_running_loop()
    asked_s = loop.time()
    clock_s = (await shard.status()).clock_s
    error_s = (loop.time() - asked_s) / 2
    return ClockReading(clock_s - asked_s - error_s, error_s) if clock_s else None


def least_ahead_s(one: ClockReading | None, other: ClockReading | None) -> float | None:
    """By how many seconds, at least, one clock is ahead of the other, below 0 if it may be behind; None if unknown.

    0 where the two agree as far as the readings can tell.
    """
    if one is None or other is None:
        return None
    ahead_s, error_s = one.ahead_s - other.ahead_s, one.error_s + other.error_s
    return ahead_s - error_s if abs(ahead_s) > error_s else 0.0
