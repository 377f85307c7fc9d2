"""How fast a shard's checkpoints may go, by a clock of the test's."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from actors.shard.rate_limit import RateLimit


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@given(sizes=st.lists(st.integers(0, 50_000_000), min_size=1, max_size=20), mb_per_s=st.floats(0.1, 1_000))
async def test_never_more_than_the_bound_and_one_checkpoint(sizes: list[int], mb_per_s: float) -> None:
    clock = Clock()
    pace = RateLimit(mb_per_s, clock=clock, sleep=clock.sleep)
    sent = 0
    for nbytes in sizes:
        await pace.turn(nbytes)
        sent += nbytes
        assert sent <= max(sizes) + (clock.now_s - 100.0) * mb_per_s * 1e6 * (1 + 1e-9) + 1


async def test_who_comes_after_a_pause_does_not_wait() -> None:
    clock = Clock()
    pace = RateLimit(1.0, clock=clock, sleep=clock.sleep)
    await pace.turn(2_000_000)
    assert clock.now_s == 100.0
    clock.now_s += 2.0
    await pace.turn(1_000_000)
    assert clock.now_s == 102.0


async def test_those_who_wait_at_the_same_time_go_one_after_the_other() -> None:
    pace = RateLimit(10.0)
    began_s = asyncio.get_running_loop().time()
    await asyncio.gather(*(pace.turn(1_000_000) for _ in range(4)))
    assert asyncio.get_running_loop().time() - began_s >= 0.29


async def test_without_a_bound_nobody_waits() -> None:
    clock = Clock()
    pace = RateLimit(None, clock=clock, sleep=clock.sleep)
    for _ in range(10):
        await pace.turn(1 << 40)
    assert clock.now_s == 100.0
