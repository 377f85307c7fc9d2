"""When a shard may speak for a camera, by a clock of the test's."""

from __future__ import annotations

import asyncio

import pytest

from actors.config.schema import LeaseConfig
from actors.errors import OwnershipUnproven
from actors.ownership.lease_holder import LeaseHolder
from cache_store.checkpoint import StoreUnavailable
from cache_store.leases import OWN_LEASE, InMemoryLeases, LeaseExpiry, Owner, ShardIncarnation

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)
ME = ShardIncarnation("me")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class SlowLeases(InMemoryLeases):
    """Each renewal takes a while, by the test's clock, and may fail."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.is_down = False
        self.takes_s = 0.0
        self._now = clock

    async def renew(self, incarnation: ShardIncarnation) -> int:
        self._now.now_s += self.takes_s
        if self.is_down:
            raise StoreUnavailable("refused")
        return await super().renew(incarnation)


class CrossingLeases(InMemoryLeases):
    """Of two renewals that are on their way at once, the second is answered first."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[str] = []
        self._on_their_way = 0

    async def renew(self, incarnation: ShardIncarnation) -> int:
        self._on_their_way += 1
        renewals, turns = await super().renew(incarnation), 0 if self._on_their_way > 1 else 5
        for _ in range(turns):
            await asyncio.sleep(0)
        self._on_their_way -= 1
        return renewals

    async def owner(self, camera: str) -> Owner | None:
        self.looked_up.append(camera)
        return await super().owner(camera)


class Held:
    """A tenure with its clock, its leases and what it lost."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.leases = SlowLeases(self.clock)
        self.lost: list[str] = []
        self.tenure = LeaseHolder(self.leases, ME, LEASE, on_lost=self._lose, clock=self.clock)

    def is_refused(self, owner: Owner, camera: str = "gate") -> bool:
        try:
            self.tenure.require(camera, owner)
        except OwnershipUnproven:
            return True
        return False

    async def _lose(self, camera: str) -> None:
        self.lost.append(camera)


@pytest.fixture
def held() -> Held:
    return Held()


async def test_it_speaks_until_a_margin_before_its_lease_ends(held: Held) -> None:
    owner = await held.tenure.acquire("gate", expiry=OWN_LEASE)

    assert not held.is_refused(owner)
    held.clock.now_s += 4.9
    assert not held.is_refused(owner)
    held.clock.now_s += 0.2
    assert held.is_refused(owner)


async def test_a_lease_counts_from_when_the_renewal_was_sent(held: Held) -> None:
    owner = await held.tenure.acquire("gate", expiry=OWN_LEASE)
    held.leases.takes_s = 3.0
    await held.tenure.renew()

    held.clock.now_s += 1.9
    assert not held.is_refused(owner)
    held.clock.now_s += 0.2
    assert held.is_refused(owner)


async def test_cameras_that_come_at_once_are_not_in_doubt_at_the_next_renewal() -> None:
    crossing, clock = CrossingLeases(), Clock()
    held = LeaseHolder(crossing, ME, LEASE, on_lost=Held()._lose, clock=clock)
    await asyncio.gather(*(held.acquire(camera, expiry=OWN_LEASE) for camera in ("gate", "yard")))

    crossing.looked_up.clear()
    await held.renew()

    assert crossing.looked_up == []


async def test_a_renewal_that_fails_proves_nothing(held: Held) -> None:
    owner = await held.tenure.acquire("gate", expiry=OWN_LEASE)
    held.clock.now_s += 4.0
    held.leases.is_down = True
    with pytest.raises(StoreUnavailable):
        await held.tenure.renew()

    held.clock.now_s += 1.5
    assert held.is_refused(owner)


async def test_after_a_lapse_it_speaks_again_for_what_is_still_its_own(held: Held) -> None:
    gate, yard = (
        await held.tenure.acquire("gate", expiry=OWN_LEASE),
        await held.tenure.acquire("yard", expiry=OWN_LEASE),
    )
    held.clock.now_s += 20.0
    taken = await held.leases.acquire("yard", "other", gone=LeaseExpiry("me", 1))

    await held.tenure.renew()

    assert not held.is_refused(gate)
    assert held.is_refused(yard, "yard")
    assert held.lost == ["yard"]
    assert await held.leases.owner("yard") == taken


async def test_what_a_forgetful_store_lost_is_acquired_again_above_its_epoch(held: Held) -> None:
    before = await held.tenure.acquire("gate", expiry=OWN_LEASE)
    await held.leases.acquire("gate", "me", floor=before.epoch + 1_000_000_000_000)
    await held.tenure.renew()
    held.tenure.request_recheck()
    await held.tenure.renew()
    high = held.tenure.owner("gate")
    assert high is not None

    held.leases.forget_everything()
    await held.tenure.renew()

    after = held.tenure.owner("gate")
    assert after is not None
    assert after.epoch > high.epoch > before.epoch
    assert held.lost == []
    assert not held.is_refused(after)
    assert held.is_refused(before)


async def test_what_another_took_while_the_store_had_forgotten_is_lost(held: Held) -> None:
    await held.tenure.acquire("gate", expiry=OWN_LEASE)
    held.leases.forget_everything()
    await held.leases.acquire("gate", "other", gone=OWN_LEASE)

    await held.tenure.renew()

    assert held.lost == ["gate"]
    assert held.tenure.owner("gate") is None


async def test_after_a_lapse_it_does_not_claim_what_the_store_forgot(held: Held) -> None:
    """Somebody may have owned it in between, and may still."""
    await held.tenure.acquire("gate", expiry=OWN_LEASE)
    held.clock.now_s += 20.0
    held.leases.forget_everything()

    await held.tenure.renew()

    assert held.lost == ["gate"]
    assert await held.leases.owner("gate") is None


async def test_it_rises_above_a_floor_only_where_it_is_below(held: Held) -> None:
    owner = await held.tenure.acquire("gate", expiry=OWN_LEASE)

    await held.tenure.raise_epoch("gate", owner.epoch)
    assert held.tenure.owner("gate") == owner
    await held.tenure.raise_epoch("gate", owner.epoch + 1)

    risen = held.tenure.owner("gate")
    assert risen is not None
    assert risen.epoch > owner.epoch + 1


async def test_doubt_is_looked_into_at_once(held: Held) -> None:
    await held.tenure.acquire("gate", expiry=OWN_LEASE)
    running = asyncio.create_task(held.tenure.run())
    await asyncio.sleep(0.05)
    await held.leases.acquire("gate", "other", gone=LeaseExpiry("me", None, is_dead=True))

    held.tenure.request_recheck()
    await asyncio.sleep(0.1)

    running.cancel()
    assert held.lost == ["gate"]


async def test_a_released_camera_is_free_for_others(held: Held) -> None:
    owner = await held.tenure.acquire("gate", expiry=OWN_LEASE)
    await held.tenure.release("gate")

    assert held.is_refused(owner)
    assert await held.leases.owner("gate") is None
    assert (await held.leases.acquire("gate", "other")).epoch > owner.epoch
