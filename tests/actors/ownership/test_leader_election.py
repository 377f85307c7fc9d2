"""One of several fleets is the leader; another takes over once its lease has expired."""

from __future__ import annotations

import asyncio

import pytest

from actors import task_cancellation
from actors.config.shards import LeaseConfig
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from cache_store.errors import StoreUnavailable
from cache_store.leases import InMemoryLeases, Renewal, ShardIncarnation
from tests.virtual_time import now_s

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)


class UnreliableLeases(InMemoryLeases):
    """is_down: the store does not answer. is_broken: an error that nobody foresaw."""

    is_down = is_broken = False

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        if self.is_down:
            raise StoreUnavailable("store: refused")
        if self.is_broken:
            raise AttributeError("'NoneType' object has no attribute 'read'")
        return await super().renew(incarnation)


@pytest.fixture
def leases() -> UnreliableLeases:
    return UnreliableLeases()


def candidate(leases: InMemoryLeases) -> LeaderElection:
    return LeaderElection(leases, FailureDetector(leases, LEASE.length_s, clock=now_s), LEASE, clock=now_s)


async def elected(leases: InMemoryLeases) -> LeaderElection:
    """The first leader of a new store. It has to observe first that the store keeps its data for one lease."""
    election = candidate(leases)
    await election.campaign()
    assert not election.is_leader()
    await asyncio.sleep(LEASE.length_s)
    await election.campaign()
    return election


async def test_one_fleet_is_the_leader(leases) -> None:
    one, other = await elected(leases), candidate(leases)
    for _ in range(3):
        await other.campaign()

    assert (one.is_leader(), other.is_leader()) == (True, False)


async def test_a_leader_that_cannot_renew_its_lease_stops_before_another_takes_over(leases) -> None:
    one, other = await elected(leases), candidate(leases)
    await other.campaign()
    await asyncio.sleep(LEASE.length_s - LEASE.margin_s)
    assert not one.is_leader()
    await other.campaign()
    assert not other.is_leader()

    await asyncio.sleep(LEASE.margin_s)
    await other.campaign()

    assert (one.is_leader(), other.is_leader()) == (False, True)


async def test_a_leader_that_runs_stays_the_leader(leases) -> None:
    one, other = candidate(leases), candidate(leases)
    loops = [asyncio.create_task(election.run()) for election in (one, other)]
    await asyncio.sleep(2 * LEASE.length_s)
    leaders = [one.is_leader(), other.is_leader()]
    assert sorted(leaders) == [False, True]

    await asyncio.sleep(20 * LEASE.length_s)

    assert [one.is_leader(), other.is_leader()] == leaders
    await task_cancellation.end(*loops)


async def test_a_leader_that_ends_resigns(leases) -> None:
    one, other = await elected(leases), candidate(leases)
    loop = asyncio.create_task(one.run())
    await asyncio.sleep(1.0)
    assert one.is_leader()
    await task_cancellation.end(loop)

    await other.campaign()

    assert (one.is_leader(), other.is_leader()) == (False, True)


async def test_an_error_that_nobody_foresaw_does_not_end_a_candidacy(leases) -> None:
    election = candidate(leases)
    leases.is_broken = True
    loop = asyncio.create_task(election.run())
    await asyncio.sleep(3.0)
    leases.is_broken = False

    await asyncio.sleep(3 * LEASE.length_s)

    assert election.is_leader()
    await task_cancellation.end(loop)


async def test_without_the_store_no_fleet_becomes_the_leader(leases) -> None:
    leases.is_down = True
    election = candidate(leases)
    await election.campaign()
    await asyncio.sleep(LEASE.length_s)
    await election.campaign()

    assert not election.is_leader()


async def test_a_fleet_that_is_no_candidate_leads_no_more_and_another_takes_over_at_once(leases) -> None:
    one, other = await elected(leases), candidate(leases)
    one.is_candidate = False
    assert not one.is_leader()

    await one.campaign()
    await other.campaign()
    assert (one.is_leader(), other.is_leader()) == (False, True)

    other.is_candidate, one.is_candidate = False, True
    await other.campaign()
    await one.campaign()
    assert (one.is_leader(), other.is_leader()) == (True, False)
