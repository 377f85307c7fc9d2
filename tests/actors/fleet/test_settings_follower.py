"""A running server takes over a newer version of the shared settings: more shards are used, too many are emptied."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from actors import task_cancellation
from actors.fleet.scaler import FleetSize
from actors.fleet.settings_follower import SettingsFollower
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.shared_settings import Agreement, InMemorySettingsStore, SharedSettings
from cache_store.leases import InMemoryLeases, ShardIncarnation
from tests.actors.fleet.test_shared_settings import settings
from tests.actors.scripted import ScriptedPool, ScriptedShard, camera_spec, scripted_fleet
from tests.virtual_time import until


async def test_a_running_server_takes_over_a_newer_version_and_logs_once_what_it_cannot() -> None:
    store, sizes, outdated = InMemorySettingsStore(), list[tuple[int, int]](), list[str]()

    def adopt(newest: SharedSettings) -> None:
        sizes.append((newest.limits.max, newest.limits.spares))

    await store.agree(settings(1, count=2))
    follower = SettingsFollower(store, settings(1, count=2), adopt, lambda: outdated.append("now"))
    await follower.follow()
    await store.agree(settings(2, count=4, spares=1))
    await follower.follow()
    await follower.follow()
    assert not outdated
    await store.agree(settings(3, count=9, model="/models/other"))
    await follower.follow()
    await follower.follow()
    assert (sizes, outdated) == ([(4, 1)], ["now"])

    await store.agree(settings(4, count=3))
    await follower.follow()

    assert sizes == [(4, 1), (3, 0)]


class UnreadableSettings(InMemorySettingsStore):
    """A later version of hermes wrote them."""

    is_readable = False

    async def agree(self, settings: SharedSettings) -> Agreement:
        if not self.is_readable:
            raise KeyError("values")
        return await super().agree(settings)


async def test_settings_that_cannot_be_read_do_not_end_the_following() -> None:
    """The server never heard of a newer version again."""
    store, adopted = UnreadableSettings(), list[int]()
    follower = SettingsFollower(store, settings(1), lambda newest: adopted.append(newest.version))
    loop = asyncio.create_task(follower.run())
    try:
        await asyncio.sleep(5.0)
        store.is_readable = True
        await store.agree(settings(2, count=4))
        await until(lambda: adopted == [2])
    finally:
        await task_cancellation.end(loop)


async def test_more_shards_are_used_at_once_and_too_many_are_emptied_end_and_are_never_revoked() -> None:
    leases = InMemoryLeases()
    shards = [ScriptedShard(pid=100 * number) for number in (1, 2, 3)]
    pool = ScriptedPool(shards)
    size = FleetSize(pool=pool, numbers=ShardNumbers.fixed(1))
    fleet = scripted_fleet(size=size, leases=leases, lease_length_s=60.0)
    await fleet.reconcile()
    for name in ("a", "b", "c", "d", "e", "f"):
        await fleet.add_camera(camera_spec(name))
    loop = asyncio.create_task(fleet.run())
    try:
        fleet.adopt(replace(ShardNumbers.fixed(3), version=2))
        await until(lambda: [len(shard.assignments) for shard in shards] == [2, 2, 2])
        fleet.adopt(replace(ShardNumbers.fixed(2), version=3))
        await until(lambda: [len(shard.assignments) for shard in shards] == [3, 3, 0])
        await asyncio.sleep(30.0)
    finally:
        await task_cancellation.end(loop)

    assert pool.ended == [2]
    assert len(await fleet.list_shards()) == 2
    await leases.renew(ShardIncarnation("300"))  # raises Retired if its lease was revoked
