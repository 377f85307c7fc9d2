"""When a shard may answer for a camera: only while it can prove that it still owns it."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable

import pytest

from actors import task_cancellation
from actors.config.shards import LeaseConfig
from actors.errors import OwnershipUnproven
from actors.ownership.leader_election import LeaderElection
from actors.ownership.lease_holder import LeaseHolder
from cache_store.errors import OwnedByAnother, StoreError, StoreUnavailable
from cache_store.leases import FREE, UNOWNED_EXPIRY, InMemoryLeases, LeaseExpiry, Owner, Renewal, ShardIncarnation
from pipeline.boot_clock import boot_time_s
from tests.virtual_time import now_s, until

LEASE = LeaseConfig(length_s=6.0, margin_s=1.0)
ME = ShardIncarnation("me")


class SlowLeases(InMemoryLeases):
    """Each renewal takes `renewal_s` and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.renewal_s = 0.0
        self.lookups: list[str] = []

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        await asyncio.sleep(self.renewal_s)
        if self.is_down:
            raise StoreUnavailable("refused")
        return await super().renew(incarnation)

    async def owner(self, camera: str) -> Owner | None:
        self.lookups.append(camera)
        return await super().owner(camera)


class CrossingLeases(SlowLeases):
    """Of two renewals at once, the reply to the second arrives first."""

    def __init__(self) -> None:
        super().__init__()
        self._pending = 0

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        self._pending += 1
        is_first = self._pending == 1
        renewal = await super().renew(incarnation)
        if is_first:
            await asyncio.sleep(0.1)
        self._pending -= 1
        return renewal


class LateLeases(SlowLeases):
    """The reply to a look-up takes a second, and a release may be applied after its reply was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.loses_releases = False

    async def owner(self, camera: str) -> Owner | None:
        owner = await super().owner(camera)
        await asyncio.sleep(1.0)
        return owner

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        if self.loses_releases:
            raise StoreUnavailable("the reply was lost")
        await super().release(camera, owner, successor=successor)


class FailingLookups(SlowLeases):
    """The first look-up of an owner fails."""

    async def owner(self, camera: str) -> Owner | None:
        owner = await super().owner(camera)
        if len(self.lookups) == 1:
            raise StoreUnavailable("refused")
        return owner


class BrokenLeases(SlowLeases):
    """While it is broken, a renewal ends with an error that nobody foresaw."""

    is_broken = False

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        if self.is_broken:
            raise AttributeError("'NoneType' object has no attribute 'read'")
        return await super().renew(incarnation)


class Shard:
    """A shard's lease holder, with its leases and the cameras that it lost."""

    def __init__(self, leases: SlowLeases, *, clock: Callable[[], float] = now_s) -> None:
        self.leases = leases
        self.lost: list[str] = []
        self.was_retired = False
        self.holder = LeaseHolder(leases, ME, LEASE, on_lost=self._on_lost, on_retired=self._on_retired, clock=clock)

    async def acquire(self, camera: str = "gate") -> Owner:
        return await self.holder.acquire(camera, expiry=UNOWNED_EXPIRY)

    def can_answer(self, owner: Owner, camera: str = "gate") -> bool:
        try:
            self.holder.require(camera, owner)
        except OwnershipUnproven:
            return False
        return True

    async def _on_lost(self, camera: str) -> None:
        self.lost.append(camera)

    def _on_retired(self) -> None:
        self.was_retired = True


@pytest.fixture
def shard() -> Shard:
    return Shard(SlowLeases())


async def test_a_shard_answers_until_a_margin_before_its_lease_ends(shard: Shard) -> None:
    owner = await shard.acquire()

    assert shard.can_answer(owner)
    await asyncio.sleep(4.9)
    assert shard.can_answer(owner)
    await asyncio.sleep(0.2)
    assert not shard.can_answer(owner)


async def test_a_lease_is_counted_from_when_the_renewal_was_sent(shard: Shard) -> None:
    owner = await shard.acquire()
    shard.leases.renewal_s = 3.0
    await shard.holder.renew()

    await asyncio.sleep(1.9)
    assert shard.can_answer(owner)
    await asyncio.sleep(0.2)
    assert not shard.can_answer(owner)


async def test_an_error_that_nobody_foresaw_does_not_end_the_renewals() -> None:
    """The shard was silent for good, and its status said that all was well."""
    leases = BrokenLeases()
    shard = Shard(leases)
    owner = await shard.acquire()
    loop = asyncio.create_task(shard.holder.run())
    await asyncio.sleep(1.0)
    leases.is_broken = True
    await asyncio.sleep(3.0)
    leases.is_broken = False

    await asyncio.sleep(10.0)

    assert shard.can_answer(owner)
    await task_cancellation.end(loop)


async def test_renewals_at_once_do_not_look_like_a_lapse() -> None:
    shard = Shard(CrossingLeases())
    await asyncio.gather(*(shard.acquire(camera) for camera in ("gate", "yard")))

    shard.leases.lookups.clear()
    await shard.holder.renew()

    assert shard.leases.lookups == []


async def test_a_failed_renewal_proves_nothing(shard: Shard) -> None:
    owner = await shard.acquire()
    await asyncio.sleep(4.0)
    shard.leases.is_down = True
    with pytest.raises(StoreUnavailable):
        await shard.holder.renew()

    await asyncio.sleep(1.5)
    assert not shard.can_answer(owner)


async def test_a_shard_that_runs_answers_as_long_as_the_store_is_up(shard: Shard) -> None:
    owner = await shard.acquire()
    loop = asyncio.create_task(shard.holder.run())
    await asyncio.sleep(100.0)
    assert shard.can_answer(owner)

    shard.leases.is_down = True
    await asyncio.sleep(6.0)
    assert not shard.can_answer(owner)

    shard.leases.is_down = False
    await asyncio.sleep(2.0)
    assert shard.can_answer(owner)
    await task_cancellation.end(loop)


async def test_a_shard_whose_lease_is_revoked_stops_at_once_and_says_so(shard: Shard) -> None:
    owner = await shard.acquire()
    loop = asyncio.create_task(shard.holder.run())
    await shard.leases.retire("me")

    await loop

    assert shard.was_retired
    assert not shard.can_answer(owner)


async def test_after_a_lapse_a_shard_answers_again_for_the_cameras_that_are_still_its_own(shard: Shard) -> None:
    gate, yard = await shard.acquire("gate"), await shard.acquire("yard")
    await asyncio.sleep(20.0)
    successor = await shard.leases.acquire("yard", "other", expiry=LeaseExpiry("me", 1))

    await shard.holder.renew()

    assert shard.can_answer(gate)
    assert not shard.can_answer(yard, "yard")
    assert shard.lost == ["yard"]
    assert await shard.leases.owner("yard") == successor


async def test_a_camera_that_the_store_lost_is_acquired_again_above_its_epoch(shard: Shard) -> None:
    before = await shard.acquire()
    await shard.leases.acquire("gate", "me", min_epoch=before.epoch + 1_000_000_000_000)
    await shard.holder.renew()
    shard.holder.request_recheck()
    await shard.holder.renew()
    high = shard.holder.owner("gate")
    assert high is not None

    shard.leases.forget_everything()
    await shard.holder.renew()

    after = shard.holder.owner("gate")
    assert after is not None
    assert after.epoch > high.epoch > before.epoch
    assert shard.lost == []
    assert shard.can_answer(after)
    assert not shard.can_answer(before)


async def test_a_camera_that_another_shard_took_after_the_store_lost_it_is_lost(shard: Shard) -> None:
    await shard.acquire()
    shard.leases.forget_everything()
    await shard.leases.acquire("gate", "other", expiry=UNOWNED_EXPIRY)

    await shard.holder.renew()

    assert shard.lost == ["gate"]
    assert shard.holder.owner("gate") is None


async def test_after_a_lapse_a_camera_that_the_store_lost_is_kept_in_silence_until_it_is_acquired_with_a_proof(
    shard: Shard,
) -> None:
    """Another shard may have owned it in between, and may still answer for it; but this may be the only memory."""
    before = await shard.acquire()
    await asyncio.sleep(20.0)
    shard.leases.forget_everything()

    await shard.holder.renew()

    assert shard.lost == []
    assert shard.holder.is_unowned("gate")
    assert shard.holder.owner("gate") is None
    assert not shard.can_answer(before)
    assert await shard.leases.owner("gate") is None
    with pytest.raises(OwnedByAnother):
        await shard.holder.acquire("gate", min_epoch=before.epoch)

    after = await shard.holder.acquire("gate", min_epoch=before.epoch, expiry=UNOWNED_EXPIRY)

    assert shard.can_answer(after)
    assert not shard.holder.is_unowned("gate")
    assert shard.lost == []


async def test_a_kept_camera_is_owned_again_in_a_newer_epoch_although_only_its_shard_knows_the_one_before(
    shard: Shard,
) -> None:
    """A server that never saw the camera does not demand a newer one; the clock of the store may have been set back."""
    first = await shard.acquire()
    await shard.holder.raise_epoch("gate", first.epoch + 1_000_000_000_000)
    before = shard.holder.owner("gate")
    assert before is not None
    await asyncio.sleep(20.0)
    shard.leases.forget_everything()
    await shard.holder.renew()
    assert shard.holder.is_unowned("gate")

    after = await shard.acquire()

    assert after.epoch > before.epoch


@pytest.mark.parametrize("does_fence", [False, True])
async def test_an_unowned_camera_is_lost_once_another_shard_has_it_or_it_is_removed(
    shard: Shard, does_fence: bool
) -> None:
    await shard.acquire()
    await asyncio.sleep(20.0)
    shard.leases.forget_everything()
    await shard.holder.renew()
    await (shard.leases.fence("gate") if does_fence else shard.leases.acquire("gate", "other", expiry=UNOWNED_EXPIRY))

    await shard.holder.renew()

    assert shard.lost == ["gate"]
    assert shard.holder.is_lost("gate")


async def test_an_unowned_camera_that_the_shard_gives_up_is_its_no_more(shard: Shard) -> None:
    await shard.acquire()
    await asyncio.sleep(20.0)
    shard.leases.forget_everything()
    await shard.holder.renew()

    await shard.holder.release("gate")

    assert not shard.holder.is_unowned("gate")


async def test_a_store_that_failed_during_the_recheck_after_its_loss_loses_no_camera() -> None:
    shard = Shard(FailingLookups())
    await shard.acquire()
    shard.leases.forget_everything()
    with pytest.raises(StoreUnavailable):
        await shard.holder.renew()

    await shard.holder.renew()

    assert shard.lost == []
    assert shard.holder.is_unowned("gate")


async def test_a_shard_whose_clock_stood_still_sees_at_its_next_renewal_that_a_camera_was_taken_over() -> None:
    """As in a virtual machine that was paused, where no clock went on."""
    clock_s = [1_000.0]
    shard = Shard(SlowLeases(), clock=lambda: clock_s[0])
    gate, yard = await shard.acquire("gate"), await shard.acquire("yard")
    await shard.leases.acquire("gate", "other", expiry=LeaseExpiry("me", 1))
    assert shard.can_answer(gate), "nothing could tell it yet"

    await shard.holder.renew()

    assert shard.lost == ["gate"]
    assert not shard.can_answer(gate)
    assert shard.can_answer(yard, "yard")


async def test_a_shard_sees_at_its_next_renewal_that_a_camera_was_fenced(shard: Shard) -> None:
    gate, yard = await shard.acquire("gate"), await shard.acquire("yard")
    await shard.leases.fence("gate")

    await shard.holder.renew()

    assert shard.lost == ["gate"]
    assert shard.can_answer(yard, "yard")
    assert not shard.can_answer(gate)


async def test_a_suspended_machine_proves_nothing_once_it_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock of a suspended machine stands still; the clock of its boot goes on."""
    clocks = {time.CLOCK_MONOTONIC: 50.0, time.CLOCK_BOOTTIME: 50.0}
    monkeypatch.setattr(time, "clock_gettime", clocks.__getitem__)
    shard = Shard(SlowLeases(), clock=boot_time_s)
    owner = await shard.acquire()
    assert shard.can_answer(owner)

    clocks[time.CLOCK_BOOTTIME] += 60.0

    assert not shard.can_answer(owner)
    defaults = inspect.signature(LeaseHolder).parameters, inspect.signature(LeaderElection).parameters
    assert [parameters["clock"].default for parameters in defaults] == [boot_time_s] * 2


async def test_a_new_epoch_refuses_what_was_saved_in_the_one_before(shard: Shard) -> None:
    before = await shard.acquire()

    after = await shard.holder.begin_epoch("gate")

    assert after.epoch > before.epoch
    assert shard.can_answer(after)
    assert await shard.leases.owner("gate") == after


async def test_an_answer_that_another_epoch_ended_does_not_blame_the_lease(shard: Shard) -> None:
    before = await shard.acquire()
    await shard.holder.begin_epoch("gate")

    with pytest.raises(OwnershipUnproven, match="moved, erased or removed while it answered; ask again"):
        shard.holder.require("gate", before)


async def test_a_new_epoch_needs_a_proof_of_ownership(shard: Shard) -> None:
    await shard.acquire()
    await asyncio.sleep(20.0)

    with pytest.raises(OwnershipUnproven, match="'gate'"):
        await shard.holder.begin_epoch("gate")
    with pytest.raises(OwnershipUnproven, match="'yard'"):
        await shard.holder.begin_epoch("yard")


async def test_the_epoch_is_raised_only_if_it_is_below_the_minimum(shard: Shard) -> None:
    owner = await shard.acquire()

    await shard.holder.raise_epoch("gate", owner.epoch)
    assert shard.holder.owner("gate") == owner
    await shard.holder.raise_epoch("gate", owner.epoch + 1)

    raised = shard.holder.owner("gate")
    assert raised is not None
    assert raised.epoch > owner.epoch + 1


async def test_a_requested_recheck_happens_at_once(shard: Shard) -> None:
    await shard.acquire()
    loop = asyncio.create_task(shard.holder.run())
    await asyncio.sleep(0.05)
    await shard.leases.acquire("gate", "other", expiry=LeaseExpiry("me", None, is_dead=True))

    shard.holder.request_recheck()

    assert await until(lambda: shard.lost == ["gate"]) < 0.1
    await task_cancellation.end(loop)


async def test_a_recheck_that_is_requested_during_another_one_is_not_forgotten() -> None:
    shard = Shard(LateLeases())
    await shard.acquire("gate")
    await shard.acquire("yard")
    shard.holder.request_recheck()
    renewal = asyncio.create_task(shard.holder.renew())
    await until(lambda: shard.leases.lookups == ["gate", "yard"])
    shard.holder.request_recheck()
    await renewal

    await shard.holder.renew()

    assert shard.leases.lookups == ["gate", "yard"] * 2


async def test_an_answer_of_a_camera_that_was_given_up_may_end_while_the_lease_is_proven(shard: Shard) -> None:
    owner = await shard.acquire()
    await shard.holder.release("gate", successor="other")
    await shard.leases.acquire("gate", "other")

    assert shard.can_answer(owner)
    await asyncio.sleep(5.1)
    assert not shard.can_answer(owner)


async def test_a_released_camera_can_be_acquired_by_another_shard(shard: Shard) -> None:
    owner = await shard.acquire()
    await shard.holder.release("gate")

    assert await shard.leases.owner("gate") == Owner(owner.epoch, FREE)
    assert (await shard.leases.acquire("gate", "other")).epoch > owner.epoch


async def test_a_camera_released_to_a_successor_can_be_acquired_by_no_other_shard(shard: Shard) -> None:
    await shard.acquire()
    await shard.holder.release("gate", successor="next")

    with pytest.raises(StoreError, match="owned by shard next"):
        await shard.leases.acquire("gate", "other")
    assert (await shard.leases.acquire("gate", "next")).incarnation == "next"


async def test_a_release_that_is_applied_late_does_not_end_the_next_ownership() -> None:
    shard = Shard(LateLeases())
    before = await shard.acquire()
    shard.leases.loses_releases = True  # type: ignore[attr-defined]
    await shard.holder.release("gate")
    after = await shard.acquire()

    shard.leases.loses_releases = False  # type: ignore[attr-defined]
    await shard.leases.release("gate", before)

    assert after.epoch > before.epoch
    assert await shard.leases.owner("gate") == after


async def test_a_camera_released_during_a_recheck_stays_released() -> None:
    shard = Shard(LateLeases())
    await shard.acquire()
    shard.holder.request_recheck()
    recheck = asyncio.create_task(shard.holder.renew())
    await asyncio.sleep(0.5)

    await shard.holder.release("gate")
    await recheck

    assert shard.leases.lookups == ["gate"]
    assert shard.holder.owner("gate") is None
    assert shard.lost == []
