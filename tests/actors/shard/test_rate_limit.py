"""The rate of a shard's checkpoints, with a simulated clock."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from actors.shard.rate_limit import RateLimit


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@given(sizes=st.lists(st.integers(0, 50_000_000), min_size=1, max_size=20), mb_per_s=st.floats(0.1, 1_000))
async def test_the_rate_never_exceeds_the_limit_by_more_than_one_checkpoint(sizes: list[int], mb_per_s: float) -> None:
    clock = Clock()
    rate_limit = RateLimit(mb_per_s, clock=clock, sleep=clock.sleep)
    sent = 0
    for nbytes in sizes:
        await rate_limit.wait(nbytes)
        sent += nbytes
        assert sent <= max(sizes) + (clock.now_s - 100.0) * mb_per_s * 1e6 * (1 + 1e-9) + 1


async def test_a_write_after_an_idle_time_starts_at_once() -> None:
    clock = Clock()
    rate_limit = RateLimit(1.0, clock=clock, sleep=clock.sleep)
    await rate_limit.wait(2_000_000)
    assert clock.now_s == 100.0
    clock.now_s += 2.0
    await rate_limit.wait(1_000_000)
    assert clock.now_s == 102.0


async def test_an_idle_time_is_not_saved_up_for_later_writes() -> None:
    clock = Clock()
    rate_limit = RateLimit(1.0, clock=clock, sleep=clock.sleep)
    await rate_limit.wait(1_000_000)
    clock.now_s += 60.0
    await rate_limit.wait(1_000_000)
    assert clock.now_s == 160.0
    await rate_limit.wait(1_000_000)
    assert clock.now_s == 161.0


async def test_writes_that_wait_at_the_same_time_start_one_after_the_other() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 6))

    rate_limit = RateLimit(10.0, clock=Clock(), sleep=sleep)
    await asyncio.gather(*(rate_limit.wait(1_000_000) for _ in range(4)))

    assert pauses == [0.0, 0.1, 0.2, 0.3]


async def test_without_a_limit_every_write_starts_at_once() -> None:
    clock = Clock()
    rate_limit = RateLimit(None, clock=clock, sleep=clock.sleep)
    for _ in range(10):
        await rate_limit.wait(1 << 40)
    assert clock.now_s == 100.0
