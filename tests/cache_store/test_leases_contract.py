"""What everything that grants ownership promises; the Redis one against real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import redis
from hypothesis import given
from hypothesis import strategies as st

from cache_store.errors import OwnedByAnother, Retired, StoreUnavailable
from cache_store.leases import (
    UNOWNED,
    UNOWNED_EXPIRY,
    InMemoryLeases,
    Lease,
    LeaseExpiry,
    Leases,
    Owner,
    ProcessIdentity,
    ShardIncarnation,
)
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.store import CheckpointStore, InMemoryCheckpointStore
from tests.cache_store.test_checkpoint import FACTS, saved_at
from tests.servers import KINDS

HOME = ProcessIdentity("boot pid:[1]", 4_711, 1_700_000_000.25)
PLACES = ("memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in KINDS))
ME, OTHER = ShardIncarnation("me", HOME), ShardIncarnation("other")


async def first(leases: Leases, incarnation: ShardIncarnation) -> Owner:
    """The owner of a camera of which the store knows nothing yet."""
    lease = await leases.lease(UNOWNED)
    assert lease is not None
    return await leases.acquire("lobby", incarnation.id, expiry=LeaseExpiry(UNOWNED, lease.renewals))


@pytest_asyncio.fixture(params=PLACES)
async def leases(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> AsyncIterator[Leases]:
    if request.param == "memory":
        yield InMemoryLeases()
        return
    url = url_of(request.param)
    client = RedisLeases(url)
    yield client
    await client.close()
    with redis.Redis.from_url(url) as cleaner:
        cleaner.flushall()


async def test_a_camera_that_nobody_owns_is_granted(leases: Leases) -> None:
    assert await leases.owner("lobby") is None
    owner = await first(leases, ME)
    assert owner.incarnation == ME.id
    assert owner.epoch > 1_600_000_000_000
    assert await leases.owner("lobby") == owner


async def test_what_a_shard_owns_it_keeps_however_often_it_asks(leases: Leases) -> None:
    owner = await first(leases, ME)
    assert await leases.acquire("lobby", ME.id) == await leases.acquire("lobby", ME.id) == owner


async def test_a_camera_of_another_is_refused_and_the_owner_named(leases: Leases) -> None:
    await leases.renew(OTHER)
    await first(leases, OTHER)
    for expiry in (
        None,
        LeaseExpiry("third", 1),
        LeaseExpiry("third", None, is_dead=True),
        LeaseExpiry(OTHER.id, None),
    ):
        with pytest.raises(OwnedByAnother) as raised:
            await leases.acquire("lobby", ME.id, expiry=expiry)
        assert raised.value.incarnation == OTHER.id


async def test_an_owner_whose_lease_stands_still_can_be_followed_once(leases: Leases) -> None:
    renewals = await leases.renew(OTHER)
    before = await first(leases, OTHER)
    expiry = LeaseExpiry(OTHER.id, renewals)

    after = await leases.acquire("lobby", ME.id, expiry=expiry)

    assert after.epoch > before.epoch
    with pytest.raises(OwnedByAnother):
        await leases.acquire("lobby", "third", expiry=expiry)


async def test_an_owner_that_renewed_meanwhile_cannot_be_followed(leases: Leases) -> None:
    expiry = LeaseExpiry(OTHER.id, await leases.renew(OTHER))
    await first(leases, OTHER)
    await leases.renew(OTHER)
    with pytest.raises(OwnedByAnother):
        await leases.acquire("lobby", ME.id, expiry=expiry)


async def test_an_owner_without_a_lease_and_one_that_died_can_be_followed(leases: Leases) -> None:
    await first(leases, OTHER)
    earlier = await leases.acquire("lobby", ME.id, expiry=LeaseExpiry(OTHER.id, None))
    await leases.renew(ME)
    later = await leases.acquire("lobby", OTHER.id, expiry=LeaseExpiry(ME.id, None, is_dead=True))
    assert later.epoch > earlier.epoch


async def test_a_camera_that_the_store_knows_nothing_of_is_granted_only_to_who_knows_its_memory(
    leases: Leases,
) -> None:
    lease = await leases.lease(UNOWNED)
    assert lease is not None
    assert await leases.lease(UNOWNED) == lease
    for expiry in (None, LeaseExpiry(UNOWNED, None), LeaseExpiry(UNOWNED, lease.renewals + 1)):
        with pytest.raises(OwnedByAnother) as raised:
            await leases.acquire("lobby", ME.id, expiry=expiry)
        assert raised.value.incarnation == UNOWNED
    assert (await leases.acquire("lobby", ME.id, min_epoch=41, expiry=UNOWNED_EXPIRY)).epoch > 41


async def test_a_released_camera_is_free_and_its_next_epoch_higher(leases: Leases) -> None:
    before = await first(leases, OTHER)
    await leases.release("lobby", before)
    assert await leases.owner("lobby") is None
    assert (await leases.acquire("lobby", ME.id)).epoch > before.epoch


async def test_what_is_another_s_by_now_is_not_released(leases: Leases) -> None:
    before = await first(leases, OTHER)
    await leases.release("lobby", before)
    after = await leases.acquire("lobby", ME.id)
    await leases.release("lobby", before)
    assert await leases.owner("lobby") == after


async def test_an_epoch_is_above_the_floor_whatever_the_store_knows(leases: Leases) -> None:
    far = 9_000_000_000_000
    await first(leases, ME)
    assert (await leases.acquire("lobby", ME.id, min_epoch=far)).epoch == far + 1
    assert (await leases.acquire("lobby", ME.id, min_epoch=far + 5)).epoch == far + 6


async def test_renewals_are_counted_and_shown_with_the_home(leases: Leases) -> None:
    assert await leases.lease(ME.id) is None
    assert [await leases.renew(ME) for _ in range(3)] == [1, 2, 3]
    assert await leases.lease(ME.id) == Lease(ME, 3)
    await leases.renew(OTHER)
    assert await leases.lease(OTHER.id) == Lease(OTHER, 1)


async def test_a_camera_that_is_left_to_an_heir_is_its_alone(leases: Leases) -> None:
    before = await first(leases, OTHER)
    await leases.release("lobby", before, successor=ME.id)
    with pytest.raises(OwnedByAnother) as raised:
        await leases.acquire("lobby", OTHER.id)
    assert raised.value.incarnation == ME.id
    owner = await leases.acquire("lobby", ME.id)
    assert owner == await leases.owner("lobby") == Owner(before.epoch + 1, ME.id)


async def test_a_shard_that_shall_stop_renews_no_more_and_can_be_followed(leases: Leases) -> None:
    await leases.renew(OTHER)
    renewals = await leases.renew(OTHER)
    await first(leases, OTHER)
    await leases.retire(OTHER.id)
    await leases.retire("never seen")
    with pytest.raises(Retired, match="shard other"):
        await leases.renew(OTHER)
    with pytest.raises(Retired):
        await leases.renew(ShardIncarnation("never seen"))
    assert (await leases.acquire("lobby", ME.id, expiry=LeaseExpiry(OTHER.id, renewals))).incarnation == ME.id


@given(steps_back_s=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
async def test_epochs_rise_however_the_clock_steps(steps_back_s: list[float]) -> None:
    now = [1_700_000_000.0]
    leases = InMemoryLeases(clock=lambda: now[0])
    epochs = []
    for number, step_s in enumerate(steps_back_s):
        now[0] = 1_700_000_000.0 + step_s
        owner = await leases.acquire("lobby", f"shard {number}", expiry=UNOWNED_EXPIRY)
        await leases.release("lobby", owner)
        epochs.append(owner.epoch)
    assert epochs == sorted(set(epochs))


@pytest_asyncio.fixture(params=PLACES)
async def both(
    request: pytest.FixtureRequest, url_of: Callable[[str], str]
) -> AsyncIterator[tuple[Leases, CheckpointStore]]:
    """What grants a camera, and the store that asks it before it takes a checkpoint."""
    if request.param == "memory":
        owners = InMemoryLeases()
        yield owners, InMemoryCheckpointStore(owners)
        return
    url = url_of(request.param)
    client, kept = RedisLeases(url), RedisCheckpointStore(url)
    yield client, kept
    await client.close()
    await kept.close()
    with redis.Redis.from_url(url) as cleaner:
        assert not [key for key in cleaner.keys("hermes:{lobby}:*:0") if b"manifests" in key]
        cleaner.flushall()


async def test_only_the_owner_of_this_very_epoch_saves(both: tuple[Leases, CheckpointStore]) -> None:
    leases, kept = both
    before = await first(leases, OTHER)
    await kept.save("lobby", saved_at(1.0), before)
    after = await leases.acquire("lobby", ME.id, expiry=LeaseExpiry(OTHER.id, None, is_dead=True))

    with pytest.raises(OwnedByAnother) as raised:
        await kept.save("lobby", saved_at(2.0), before)
    with pytest.raises(OwnedByAnother):
        await kept.save("lobby", saved_at(2.0), Owner(after.epoch, OTHER.id))
    await kept.save("lobby", saved_at(3.0), after)

    assert raised.value.incarnation == ME.id
    loaded = await kept.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 3.0


@pytest.mark.redis
async def test_a_refused_checkpoint_leaves_nothing_behind(server_url: str) -> None:
    kept = RedisCheckpointStore(server_url)
    with pytest.raises(OwnedByAnother, match="no record of an owner"):
        await kept.save("lobby", saved_at(1.0), Owner(1, "me"))
    with redis.Redis.from_url(server_url) as client:
        assert client.keys("hermes:{lobby}:*") == []
    await kept.close()


@pytest.mark.redis
async def test_a_store_that_is_away_is_said_to_be_at_once() -> None:
    client = RedisLeases("redis://user:canary@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as raised:
        await client.renew(ME)
    assert "canary" not in str(raised.value)
    await client.close()
