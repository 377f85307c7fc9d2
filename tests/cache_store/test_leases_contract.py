"""What everything that grants ownership promises; the Redis one against real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import redis
from hypothesis import given
from hypothesis import strategies as st

from cache_store.errors import CameraFenced, OwnedByAnother, Retired, StoreUnavailable
from cache_store.leases import (
    FENCED,
    FREE,
    UNOWNED,
    UNOWNED_EXPIRY,
    InMemoryLeases,
    Lease,
    LeaseExpiry,
    Leases,
    Owner,
    ProcessIdentity,
    Renewal,
    ShardIncarnation,
)
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from cache_store.store import CheckpointStore, InMemoryCheckpointStore
from tests.cache_store.test_checkpoint import FACTS, saved_at
from tests.servers import KINDS

PROCESS = ProcessIdentity("boot pid:[1]", 4_711, 1_234_567)
BACKENDS = ("memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in KINDS))
ME, OTHER = ShardIncarnation("me", PROCESS), ShardIncarnation("other")


async def first_owner(leases: Leases, incarnation: ShardIncarnation) -> Owner:
    """Makes the incarnation the first owner of the camera."""
    lease = await leases.lease(UNOWNED)
    assert lease is not None
    return await leases.acquire("lobby", incarnation.id, expiry=LeaseExpiry(UNOWNED, lease.renewals))


@pytest_asyncio.fixture(params=BACKENDS)
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


async def test_an_unowned_camera_is_granted(leases: Leases) -> None:
    assert await leases.owner("lobby") is None
    owner = await first_owner(leases, ME)
    assert owner.incarnation == ME.id
    assert owner.epoch > 1_600_000_000_000
    assert await leases.owner("lobby") == owner


async def test_an_owner_that_acquires_again_keeps_its_epoch(leases: Leases) -> None:
    owner = await first_owner(leases, ME)
    assert await leases.acquire("lobby", ME.id) == await leases.acquire("lobby", ME.id) == owner


async def test_a_camera_of_another_owner_is_refused_and_the_error_names_the_owner(leases: Leases) -> None:
    await leases.renew(OTHER)
    await first_owner(leases, OTHER)
    for expiry in (
        None,
        LeaseExpiry("third", 1),
        LeaseExpiry("third", None, is_dead=True),
        LeaseExpiry(OTHER.id, None),
    ):
        with pytest.raises(OwnedByAnother) as raised:
            await leases.acquire("lobby", ME.id, expiry=expiry)
        assert raised.value.incarnation == OTHER.id


async def test_an_owner_with_an_expired_lease_can_be_replaced_once(leases: Leases) -> None:
    renewals = (await leases.renew(OTHER)).count
    before = await first_owner(leases, OTHER)
    expiry = LeaseExpiry(OTHER.id, renewals)

    after = await leases.acquire("lobby", ME.id, expiry=expiry)

    assert after.epoch > before.epoch
    with pytest.raises(OwnedByAnother):
        await leases.acquire("lobby", "third", expiry=expiry)


async def test_an_owner_that_renewed_since_the_proof_cannot_be_replaced(leases: Leases) -> None:
    expiry = LeaseExpiry(OTHER.id, (await leases.renew(OTHER)).count)
    await first_owner(leases, OTHER)
    await leases.renew(OTHER)
    with pytest.raises(OwnedByAnother):
        await leases.acquire("lobby", ME.id, expiry=expiry)


async def test_an_owner_without_a_lease_and_a_dead_owner_can_be_replaced(leases: Leases) -> None:
    await first_owner(leases, OTHER)
    earlier = await leases.acquire("lobby", ME.id, expiry=LeaseExpiry(OTHER.id, None))
    await leases.renew(ME)
    later = await leases.acquire("lobby", OTHER.id, expiry=LeaseExpiry(ME.id, None, is_dead=True))
    assert later.epoch > earlier.epoch


async def test_an_unowned_camera_is_granted_only_with_a_proof_of_the_renewals_of_unowned(
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


async def test_a_released_camera_has_no_owner_and_its_next_epoch_is_higher(leases: Leases) -> None:
    before = await first_owner(leases, OTHER)
    await leases.release("lobby", before)
    assert await leases.owner("lobby") == Owner(before.epoch, FREE)
    assert (await leases.acquire("lobby", ME.id)).epoch > before.epoch


async def test_a_former_owner_cannot_release_the_camera_of_the_next(leases: Leases) -> None:
    before = await first_owner(leases, OTHER)
    await leases.release("lobby", before)
    after = await leases.acquire("lobby", ME.id)
    await leases.release("lobby", before)
    assert await leases.owner("lobby") == after


async def test_an_epoch_is_above_min_epoch(leases: Leases) -> None:
    far = 9_000_000_000_000
    await first_owner(leases, ME)
    assert (await leases.acquire("lobby", ME.id, min_epoch=far)).epoch == far + 1
    assert (await leases.acquire("lobby", ME.id, min_epoch=far + 5)).epoch == far + 6


async def test_a_lease_has_its_renewals_and_its_process(leases: Leases) -> None:
    assert await leases.lease(ME.id) is None
    assert [(await leases.renew(ME)).count for _ in range(3)] == [1, 2, 3]
    assert await leases.lease(ME.id) == Lease(ME, 3)
    await leases.renew(OTHER)
    assert await leases.lease(OTHER.id) == Lease(OTHER, 1)


async def test_a_camera_released_to_a_successor_is_granted_to_the_successor_alone(leases: Leases) -> None:
    before = await first_owner(leases, OTHER)
    await leases.release("lobby", before, successor=ME.id)
    with pytest.raises(OwnedByAnother) as raised:
        await leases.acquire("lobby", OTHER.id)
    assert raised.value.incarnation == ME.id
    owner = await leases.acquire("lobby", ME.id)
    assert owner == await leases.owner("lobby") == Owner(before.epoch + 1, ME.id)


async def test_a_retired_incarnation_cannot_renew_and_can_be_replaced(leases: Leases) -> None:
    await leases.renew(OTHER)
    renewals = (await leases.renew(OTHER)).count
    await first_owner(leases, OTHER)
    await leases.retire(OTHER.id)
    await leases.retire("unknown")
    with pytest.raises(Retired, match="shard other"):
        await leases.renew(OTHER)
    with pytest.raises(Retired):
        await leases.renew(ShardIncarnation("unknown"))
    assert (await leases.acquire("lobby", ME.id, expiry=LeaseExpiry(OTHER.id, renewals))).incarnation == ME.id


async def test_a_takeover_is_seen_at_the_next_renewal_of_the_owner_before_and_voids_no_other_proof(
    leases: Leases,
) -> None:
    renewal = await leases.renew(OTHER)
    await first_owner(leases, OTHER)
    await leases.acquire("yard", OTHER.id, expiry=UNOWNED_EXPIRY)
    expiry = LeaseExpiry(OTHER.id, renewal.count)

    await leases.acquire("lobby", ME.id, expiry=expiry)
    await leases.acquire("yard", ME.id, expiry=expiry)

    assert renewal == Renewal(1, 0)
    assert await leases.renew(OTHER) == Renewal(2, 2)


async def test_neither_a_release_nor_a_refused_takeover_counts_as_one(leases: Leases) -> None:
    await leases.renew(OTHER)
    owner = await first_owner(leases, OTHER)
    with pytest.raises(OwnedByAnother):
        await leases.acquire("lobby", ME.id)
    await leases.release("lobby", owner)
    await leases.acquire("lobby", ME.id)

    assert await leases.renew(OTHER) == Renewal(2, 0)


async def test_a_fenced_camera_can_be_acquired_by_nothing_and_is_counted_in_the_lease_of_its_owner(
    leases: Leases,
) -> None:
    await leases.renew(OTHER)
    before = await first_owner(leases, OTHER)

    fence = await leases.fence("lobby")

    assert fence == Owner(fence.epoch, FENCED) == await leases.owner("lobby") == await leases.fence("lobby")
    assert fence.epoch > before.epoch
    assert await leases.renew(OTHER) == Renewal(2, 1)
    for incarnation in (OTHER.id, ME.id):
        for expiry in (None, UNOWNED_EXPIRY, LeaseExpiry(OTHER.id, 2), LeaseExpiry(FENCED, None, is_dead=True)):
            with pytest.raises(CameraFenced, match="'lobby': it was removed"):
                await leases.acquire("lobby", incarnation, min_epoch=fence.epoch + 9, expiry=expiry)
    await leases.release("lobby", before)
    assert await leases.owner("lobby") == fence


async def test_a_camera_without_an_owner_can_be_fenced(leases: Leases) -> None:
    fence = await leases.fence("lobby")
    with pytest.raises(CameraFenced):
        await leases.acquire("lobby", ME.id, expiry=UNOWNED_EXPIRY)
    assert await leases.owner("lobby") == fence


@given(steps_s=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
async def test_epochs_rise_even_if_the_clock_steps_back(steps_s: list[float]) -> None:
    now = [1_700_000_000.0]
    leases = InMemoryLeases(clock=lambda: now[0])
    epochs = []
    for number, step_s in enumerate(steps_s):
        now[0] = 1_700_000_000.0 + step_s
        owner = await leases.acquire("lobby", f"shard {number}", expiry=UNOWNED_EXPIRY)
        await leases.release("lobby", owner)
        epochs.append(owner.epoch)
    assert epochs == sorted(set(epochs))


@pytest_asyncio.fixture(params=BACKENDS)
async def leases_and_store(
    request: pytest.FixtureRequest, url_of: Callable[[str], str]
) -> AsyncIterator[tuple[Leases, CheckpointStore]]:
    """Leases, and a checkpoint store that is fenced by them."""
    if request.param == "memory":
        in_memory = InMemoryLeases()
        yield in_memory, InMemoryCheckpointStore(in_memory)
        return
    url = url_of(request.param)
    leases, store = RedisLeases(url), RedisCheckpointStore(url)
    yield leases, store
    await leases.close()
    await store.close()
    with redis.Redis.from_url(url) as cleaner:
        kept = cleaner.llen("hermes:{lobby}:manifests")
        assert len(cleaner.keys("hermes:{lobby}:*:0")) == kept, "a refused save left its chunks"
        cleaner.flushall()


async def test_a_stale_owner_cannot_save(leases_and_store: tuple[Leases, CheckpointStore]) -> None:
    leases, store = leases_and_store
    before = await first_owner(leases, OTHER)
    await store.save("lobby", saved_at(1.0), before)
    after = await leases.acquire("lobby", ME.id, expiry=LeaseExpiry(OTHER.id, None, is_dead=True))

    with pytest.raises(OwnedByAnother) as raised:
        await store.save("lobby", saved_at(2.0), before)
    with pytest.raises(OwnedByAnother):
        await store.save("lobby", saved_at(2.0), Owner(after.epoch, OTHER.id))
    await store.save("lobby", saved_at(3.0), after)

    assert raised.value.incarnation == ME.id
    loaded = await store.load("lobby", FACTS.fingerprint)
    assert loaded is not None
    assert loaded.facts.saved_s == 3.0


async def test_after_a_fence_checkpoints_can_be_deleted_and_a_late_save_is_refused(
    leases_and_store: tuple[Leases, CheckpointStore],
) -> None:
    leases, store = leases_and_store
    owner = await first_owner(leases, OTHER)
    await store.save("lobby", saved_at(1.0), owner)
    with pytest.raises(OwnedByAnother):
        await store.delete("lobby", Owner(owner.epoch, ME.id))

    fence = await leases.fence("lobby")
    with pytest.raises(CameraFenced):
        await store.delete("lobby", owner)
    with pytest.raises(CameraFenced):
        await store.save("lobby", saved_at(2.0), owner)
    await store.delete("lobby", fence)
    with pytest.raises(CameraFenced):
        await store.save("lobby", saved_at(3.0), owner)

    assert await store.load("lobby", FACTS.fingerprint) is None


@pytest.mark.redis
async def test_a_refused_checkpoint_leaves_no_key(server_url: str) -> None:
    store = RedisCheckpointStore(server_url)
    with pytest.raises(OwnedByAnother, match="no record of an owner"):
        await store.save("lobby", saved_at(1.0), Owner(1, "me"))
    with redis.Redis.from_url(server_url) as client:
        assert client.keys("hermes:{lobby}:*") == []
    await store.close()


@pytest.mark.redis
async def test_an_unreachable_store_raises_store_unavailable_without_its_password() -> None:
    client = RedisLeases("redis://user:canary@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as raised:
        await client.renew(ME)
    assert "canary" not in str(raised.value)
    await client.close()
