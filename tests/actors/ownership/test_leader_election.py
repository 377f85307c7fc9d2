"""Of several fleets one supervises; another follows when its lease stood still."""

from __future__ import annotations

import asyncio

import pytest

from actors import task_cancellation
from actors.config.schema import LeaseConfig
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from cache_store.checkpoint import StoreUnavailable
from cache_store.leases import InMemoryLeases, ShardIncarnation
from tests.actors.waiting import until

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Bidders:
    """Several of them over one store, by one clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.leases = UnreliableLeases()

    def bidder(self) -> LeaderElection:
        owners = FailureDetector(self.leases, LEASE.length_s, clock=self.clock)
        return LeaderElection(self.leases, owners, LEASE, clock=self.clock)

    def pass_s(self, seconds: float) -> None:
        self.clock.now_s += seconds


class UnreliableLeases(InMemoryLeases):
    is_down = False

    async def renew(self, incarnation: ShardIncarnation) -> int:
        if self.is_down:
            raise StoreUnavailable("store: refused")
        return await super().renew(incarnation)


@pytest.fixture
def bidders() -> Bidders:
    return Bidders()


async def a_supervisor(bidders: Bidders) -> LeaderElection:
    """Of a store that knew nothing of any, so whoever bids has to watch that for a while."""
    bidder = bidders.bidder()
    await bidder.campaign()
    assert not bidder.is_leader()
    bidders.pass_s(LEASE.length_s)
    await bidder.campaign()
    return bidder


async def test_one_of_them_supervises(bidders: Bidders) -> None:
    one, other = await a_supervisor(bidders), bidders.bidder()
    for _ in range(3):
        await other.campaign()

    assert (one.is_leader(), other.is_leader()) == (True, False)


async def test_a_supervisor_that_cannot_renew_stops_before_another_follows(bidders: Bidders) -> None:
    one, other = await a_supervisor(bidders), bidders.bidder()
    await other.campaign()
    bidders.pass_s(LEASE.length_s - LEASE.margin_s)
    assert not one.is_leader()
    await other.campaign()
    assert not other.is_leader()

    bidders.pass_s(LEASE.margin_s)
    await other.campaign()

    assert (one.is_leader(), other.is_leader()) == (False, True)


async def test_a_supervisor_that_ends_leaves_the_role_at_once(bidders: Bidders) -> None:
    one, other = await a_supervisor(bidders), bidders.bidder()
    running = asyncio.create_task(one.run())
    await until(one.is_leader)
    await task_cancellation.end(running)

    await other.campaign()

    assert (one.is_leader(), other.is_leader()) == (False, True)


async def test_without_the_store_nobody_begins_to_supervise(bidders: Bidders) -> None:
    bidders.leases.is_down = True
    bidder = bidders.bidder()
    await bidder.campaign()
    bidders.pass_s(LEASE.length_s)
    await bidder.campaign()

    assert not bidder.is_leader()
