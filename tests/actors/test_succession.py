"""Who may be followed, and when."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from actors import succession
from cache_store import leases


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_an_owner_is_gone_when_its_lease_stood_still_for_its_length() -> None:
    granted_by, clock = leases.InMemoryLeases(), Clock()
    watching = succession.Succession(granted_by, 6.0, clock=clock)
    other = leases.Incarnation("other")
    await granted_by.renew(other)

    assert await watching.gone("other") is None
    clock.now_s += 5.9
    await granted_by.renew(other)
    assert await watching.gone("other") is None
    clock.now_s += 5.9
    assert await watching.gone("other") is None
    clock.now_s += 0.2
    assert await watching.gone("other") == leases.Gone("other", 2)


async def test_an_owner_that_the_store_knows_nothing_of_may_still_come_forward() -> None:
    granted_by, clock = leases.InMemoryLeases(), Clock()
    watching = succession.Succession(granted_by, 6.0, clock=clock)

    assert await watching.gone("other") is None
    clock.now_s += 4.0
    await granted_by.renew(leases.Incarnation("other"))
    clock.now_s += 3.0
    assert await watching.gone("other") is None
    clock.now_s += 6.1
    assert await watching.gone("other") == leases.Gone("other", 1)


@pytest.mark.skipif(succession.home() is None, reason="this system does not tell processes of two machines apart")
async def test_a_process_of_this_machine_that_ended_is_gone_at_once() -> None:
    told = "from actors import succession; h = succession.home(); print(h.place, h.pid, h.born_s, sep='|', flush=True)"
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", f"{told}; input()", **pipes)
    assert process.stdout is not None
    place, pid, born_s = (await process.stdout.readline()).decode().strip().split("|")
    granted_by = leases.InMemoryLeases()
    await granted_by.renew(leases.Incarnation("other", leases.Home(place, int(pid), float(born_s))))
    watching = succession.Succession(granted_by, 6.0)

    assert await watching.gone("other") is None
    process.kill()
    await process.wait()

    assert await watching.gone("other") == leases.Gone("other", None, is_dead=True)


def test_a_process_of_another_machine_proves_nothing() -> None:
    assert not succession.has_died(leases.Home("elsewhere", os.getpid(), 0.0))


@pytest.mark.skipif(succession.home() is None, reason="this system does not tell processes of two machines apart")
def test_a_process_is_not_taken_for_a_later_one_with_its_number() -> None:
    home = succession.home()
    assert home is not None
    assert not succession.has_died(home)
    assert succession.has_died(leases.Home(home.place, home.pid, home.born_s - 100.0))
