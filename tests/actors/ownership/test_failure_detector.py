"""Who may be followed, and when."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from actors.ownership import failure_detector
from actors.ownership.failure_detector import FailureDetector
from cache_store.leases import InMemoryLeases, LeaseExpiry, ProcessIdentity, ShardIncarnation


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_an_owner_is_gone_when_its_lease_stood_still_for_its_length() -> None:
    leases, clock = InMemoryLeases(), Clock()
    watching = FailureDetector(leases, 6.0, clock=clock)
    other = ShardIncarnation("other")
    await leases.renew(other)

    assert await watching.expiry("other") is None
    clock.now_s += 5.9
    await leases.renew(other)
    assert await watching.expiry("other") is None
    clock.now_s += 5.9
    assert await watching.expiry("other") is None
    clock.now_s += 0.2
    assert await watching.expiry("other") == LeaseExpiry("other", 2)


async def test_an_owner_that_the_store_knows_nothing_of_may_still_come_forward() -> None:
    leases, clock = InMemoryLeases(), Clock()
    watching = FailureDetector(leases, 6.0, clock=clock)

    assert await watching.expiry("other") is None
    clock.now_s += 4.0
    await leases.renew(ShardIncarnation("other"))
    clock.now_s += 3.0
    assert await watching.expiry("other") is None
    clock.now_s += 6.1
    assert await watching.expiry("other") == LeaseExpiry("other", 1)


@pytest.mark.skipif(
    failure_detector.current_process() is None, reason="this system does not tell processes of two machines apart"
)
async def test_a_process_of_this_machine_that_ended_is_gone_at_once() -> None:
    script = (
        "from actors.ownership.failure_detector import current_process; p = current_process(); "
        "print(p.place, p.pid, p.born_s, sep='|', flush=True); input()"
    )
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, **pipes)
    assert process.stdout is not None
    place, pid, born_s = (await process.stdout.readline()).decode().strip().split("|")
    leases = InMemoryLeases()
    await leases.renew(ShardIncarnation("other", ProcessIdentity(place, int(pid), float(born_s))))
    watching = FailureDetector(leases, 6.0)

    assert await watching.expiry("other") is None
    process.kill()
    await process.wait()

    assert await watching.expiry("other") == LeaseExpiry("other", None, is_dead=True)


def test_a_process_of_another_machine_proves_nothing() -> None:
    assert not failure_detector.has_died(ProcessIdentity("elsewhere", os.getpid(), 0.0))


@pytest.mark.skipif(
    failure_detector.current_process() is None, reason="this system does not tell processes of two machines apart"
)
def test_a_process_is_not_taken_for_a_later_one_with_its_number() -> None:
    home = failure_detector.current_process()
    assert home is not None
    assert not failure_detector.has_died(home)
    assert failure_detector.has_died(ProcessIdentity(home.place, home.pid, home.born_s - 100.0))
