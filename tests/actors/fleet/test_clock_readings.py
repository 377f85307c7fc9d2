"""The clocks of two shards are compared by their statuses, as far as these can tell."""

from __future__ import annotations

import asyncio

import pytest

from actors.fleet import clock_readings
from actors.fleet.clock_readings import ClockReading
from actors.shard.interface import ShardStatus
from tests.actors.scripted import ScriptedShard
from tests.virtual_time import now_s


class SlowShard(ScriptedShard):
    """Its clock is 1,000 s ahead; it takes a second to answer."""

    async def status(self) -> ShardStatus:
        await asyncio.sleep(0.5)
        self.clock_s = now_s() + 1_000
        status = await super().status()
        await asyncio.sleep(0.5)
        return status


async def test_a_reading_may_be_wrong_by_half_the_time_of_the_call() -> None:
    reading = await clock_readings.read(SlowShard())

    assert reading is not None
    assert reading.ahead_s == pytest.approx(1_000)
    assert reading.error_s == pytest.approx(0.5)


async def test_a_shard_of_a_version_before_says_nothing_of_its_clock() -> None:
    assert await clock_readings.read(ScriptedShard()) is None


@pytest.mark.parametrize(
    ("one", "other", "least_ahead_s"),
    [
        (ClockReading(30.0, 0.01), ClockReading(-1.0, 0.02), 30.97),
        (ClockReading(-1.0, 0.01), ClockReading(0.0, 0.02), -1.03),
        (ClockReading(0.1, 0.2), ClockReading(0.0, 0.0), 0.0),
        (ClockReading(-0.1, 0.0), ClockReading(0.0, 0.2), 0.0),
        (ClockReading(30.0, 0.0), None, None),
        (None, ClockReading(30.0, 0.0), None),
    ],
)
def test_one_clock_is_ahead_by_what_the_readings_prove(
    one: ClockReading | None, other: ClockReading | None, least_ahead_s: float | None
) -> None:
    assert clock_readings.least_ahead_s(one, other) == pytest.approx(least_ahead_s)
