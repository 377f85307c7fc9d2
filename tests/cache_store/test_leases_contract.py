"""What everything that grants ownership promises; the Redis one against a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis
from hypothesis import given
from hypothesis import strategies as st

from cache_store import checkpoint, leases, redis_leases, redis_store, store
from tests.cache_store.test_checkpoint import FACTS, saved_at

HOME = leases.Home("boot pid:[1]", 4_711, 1_700_000_000.25)
ME, OTHER = leases.Incarnation("me", HOME), leases.Incarnation("other")


async def first(granted_by: leases.Leases, incarnation: leases.Incarnation) -> leases.Owner:
    """The owner of a camera of which the store knows nothing yet."""
    lease = await granted_by.lease(leases.NOBODY)
    assert lease is not None
    return await granted_by.acquire("lobby", incarnation.id, gone=leases.Gone(leases.NOBODY, lease.renewals))


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def granted_by(request: pytest.FixtureRequest) -> AsyncIterator[leases.Leases]:
    if request.param == "memory":
        yield leases.InMemoryLeases()
        return
    url: str = request.getfixturevalue("valkey_url")
    client = redis_leases.RedisLeases(url)
    yield client
    await client.close()
    with redis.Redis.from_url(url) as cleaner:
        cleaner.flushall()


async def test_a_camera_that_nobody_owns_is_granted(granted_by: leases.Leases) -> None:
    assert await granted_by.owner("lobby") is None
    owner = await first(granted_by, ME)
    assert owner.incarnation == ME.id
    assert owner.epoch > 1_600_000_000_000
    assert await granted_by.owner("lobby") == owner


async def test_what_a_shard_owns_it_keeps_however_often_it_asks(granted_by: leases.Leases) -> None:
    owner = await first(granted_by, ME)
    assert await granted_by.acquire("lobby", ME.id) == await granted_by.acquire("lobby", ME.id) == owner


async def test_a_camera_of_another_is_refused_and_the_owner_named(granted_by: leases.Leases) -> None:
    await granted_by.renew(OTHER)
    await first(granted_by, OTHER)
    for gone in (None, leases.Gone("third", 1), leases.Gone("third", None, is_dead=True), leases.Gone(OTHER.id, None)):
        with pytest.raises(leases.OwnedByAnother) as raised:
            await granted_by.acquire("lobby", ME.id, gone=gone)
        assert raised.value.incarnation == OTHER.id


async def test_an_owner_whose_lease_stands_still_can_be_followed_once(granted_by: leases.Leases) -> None:
    renewals = await granted_by.renew(OTHER)
    before = await first(granted_by, OTHER)
    gone = leases.Gone(OTHER.id, renewals)

    after = await granted_by.acquire("lobby", ME.id, gone=gone)

    assert after.epoch > before.epoch
    with pytest.raises(leases.OwnedByAnother):
        await granted_by.acquire("lobby", "third", gone=gone)


async def test_an_owner_that_renewed_meanwhile_cannot_be_followed(granted_by: leases.Leases) -> None:
    gone = leases.Gone(OTHER.id, await granted_by.renew(OTHER))
    await first(granted_by, OTHER)
    await granted_by.renew(OTHER)
    with pytest.raises(leases.OwnedByAnother):
        await granted_by.acquire("lobby", ME.id, gone=gone)


async def test_an_owner_without_a_lease_and_one_that_died_can_be_followed(granted_by: leases.Leases) -> None:
    await first(granted_by, OTHER)
    earlier = await granted_by.acquire("lobby", ME.id, gone=leases.Gone(OTHER.id, None))
    await granted_by.renew(ME)
    later = await granted_by.acquire("lobby", OTHER.id, gone=leases.Gone(ME.id, None, is_dead=True))
    assert later.epoch > earlier.epoch


async def test_a_camera_that_the_store_knows_nothing_of_is_granted_only_to_who_knows_its_memory(
    granted_by: leases.Leases,
) -> None:
    lease = await granted_by.lease(leases.NOBODY)
    assert lease is not None
    assert await granted_by.lease(leases.NOBODY) == lease
    for gone in (None, leases.Gone(leases.NOBODY, None), leases.Gone(leases.NOBODY, lease.renewals + 1)):
        with pytest.raises(leases.OwnedByAnother) as raised:
            await granted_by.acquire("lobby", ME.id, gone=gone)
        assert raised.value.incarnation == leases.NOBODY
    assert (await granted_by.acquire("lobby", ME.id, floor=41, gone=leases.MINE)).epoch > 41


async def test_a_released_camera_is_free_and_its_next_epoch_higher(granted_by: leases.Leases) -> None:
    before = await first(granted_by, OTHER)
    await granted_by.release("lobby", before)
    assert await granted_by.owner("lobby") is None
    assert (await granted_by.acquire("lobby", ME.id)).epoch > before.epoch


async def test_what_is_another_s_by_now_is_not_released(granted_by: leases.Leases) -> None:
    before = await first(granted_by, OTHER)
    await granted_by.release("lobby", before)
    after = await granted_by.acquire("lobby", ME.id)
    await granted_by.release("lobby", before)
    assert await granted_by.owner("lobby") == after


async def test_an_epoch_is_above_the_floor_whatever_the_store_knows(granted_by: leases.Leases) -> None:
    far = 9_000_000_000_000
    await first(granted_by, ME)
    assert (await granted_by.acquire("lobby", ME.id, floor=far)).epoch == far + 1
    assert (await granted_by.acquire("lobby", ME.id, floor=far + 5)).epoch == far + 6


async def test_renewals_are_counted_and_shown_with_the_home(granted_by: leases.Leases) -> None:
    assert await granted_by.lease(ME.id) is None
    assert [await granted_by.renew(ME) for _ in range(3)] == [1, 2, 3]
    assert await granted_by.lease(ME.id) == leases.Lease(ME, 3)
    await granted_by.renew(OTHER)
    assert await granted_by.lease(OTHER.id) == leases.Lease(OTHER, 1)


async def test_a_camera_that_is_left_to_an_heir_is_its_alone(granted_by: leases.Leases) -> None:
    before = await first(granted_by, OTHER)
    await granted_by.release("lobby", before, heir=ME.id)
    with pytest.raises(leases.OwnedByAnother) as raised:
        await granted_by.acquire("lobby", OTHER.id)
    assert raised.value.incarnation == ME.id
    owner = await granted_by.acquire("lobby", ME.id)
    assert owner == await granted_by.owner("lobby") == leases.Owner(before.epoch + 1, ME.id)


async def test_a_shard_that_shall_stop_renews_no_more_and_can_be_followed(granted_by: leases.Leases) -> None:
    await granted_by.renew(OTHER)
    renewals = await granted_by.renew(OTHER)
    await first(granted_by, OTHER)
    await granted_by.retire(OTHER.id)
    await granted_by.retire("never seen")
    with pytest.raises(leases.Retired, match="shard other"):
        await granted_by.renew(OTHER)
    with pytest.raises(leases.Retired):
        await granted_by.renew(leases.Incarnation("never seen"))
    assert (await granted_by.acquire("lobby", ME.id, gone=leases.Gone(OTHER.id, renewals))).incarnation == ME.id


@given(steps_back_s=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
async def test_epochs_rise_however_the_clock_steps(steps_back_s: list[float]) -> None:
    now = [1_700_000_000.0]
    granted_by = leases.InMemoryLeases(clock=lambda: now[0])
    epochs = []
    for number, step_s in enumerate(steps_back_s):
        now[0] = 1_700_000_000.0 + step_s
        owner = await granted_by.acquire("lobby", f"shard {number}", gone=leases.MINE)
        await granted_by.release("lobby", owner)
        epochs.append(owner.epoch)
    assert epochs == sorted(set(epochs))


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[leases.Leases, store.CheckpointStore]]:
    """What grants a camera, and the store that asks it before it takes a checkpoint."""
    if request.param == "memory":
        owners = leases.InMemoryLeases()
        yield owners, store.InMemoryCheckpointStore(owners)
        return
    url: str = request.getfixturevalue("valkey_url")
    client, kept = redis_leases.RedisLeases(url), redis_store.RedisCheckpointStore(url)
    yield client, kept
    await client.close()
    await kept.close()
    with redis.Redis.from_url(url) as cleaner:
        assert not [key for key in cleaner.keys("hermes:{lobby}:*:0") if b"manifests" in key]
        cleaner.flushall()


async def test_only_the_owner_of_this_very_epoch_saves(both: tuple[leases.Leases, store.CheckpointStore]) -> None:
    granted_by, kept = both
    before = await first(granted_by, OTHER)
    await kept.save("lobby", saved_at(1.0), before)
    after = await granted_by.acquire("lobby", ME.id, gone=leases.Gone(OTHER.id, None, is_dead=True))

    with pytest.raises(leases.OwnedByAnother) as raised:
        await kept.save("lobby", saved_at(2.0), before)
    with pytest.raises(leases.OwnedByAnother):
        await kept.save("lobby", saved_at(2.0), leases.Owner(after.epoch, OTHER.id))
    await kept.save("lobby", saved_at(3.0), after)

    assert raised.value.incarnation == ME.id
    loaded = await kept.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 3.0


@pytest.mark.redis
async def test_a_refused_checkpoint_leaves_nothing_behind(valkey_url: str) -> None:
    kept = redis_store.RedisCheckpointStore(valkey_url)
    with pytest.raises(leases.OwnedByAnother, match="nobody is known to own it"):
        await kept.save("lobby", saved_at(1.0), leases.Owner(1, "me"))
    with redis.Redis.from_url(valkey_url) as client:
        assert client.keys("hermes:{lobby}:*") == []
    await kept.close()


@pytest.mark.redis
async def test_a_store_that_is_away_is_said_to_be_at_once() -> None:
    client = redis_leases.RedisLeases("redis://user:canary@127.0.0.1:1/0")
    with pytest.raises(checkpoint.StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as raised:
        await client.renew(ME)
    assert "canary" not in str(raised.value)
    await client.close()
