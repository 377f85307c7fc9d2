"""What operators see of shards: which of them are spares, and what each process costs."""

from __future__ import annotations

from tests.actors.scripted import ScriptedShard, camera_spec, scripted_fleet


async def test_a_shard_that_is_kept_empty_is_listed_as_a_spare_until_it_takes_the_place_of_another_one() -> None:
    shards = [ScriptedShard(pid=pid) for pid in (100, 200, 300)]
    fleet = scripted_fleet(*shards, spares=1)
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    await fleet.reconcile()

    before = await fleet.list_shards()
    shards[0].is_down = True
    after = await fleet.list_shards()

    assert [shard.is_spare for shard in before] == [False, False, True]
    assert not any(shard.is_spare for shard in after)


async def test_what_a_process_costs_is_known_while_it_is_up(fleet, shards) -> None:
    shards[0].resident_nbytes, shards[0].device_nbytes = 560_000_000, 14_000_000_000
    await fleet.reconcile()
    up = (await fleet.list_shards())[0]
    shards[0].is_down = True
    down = (await fleet.list_shards())[0]

    assert (up.resident_nbytes, up.device_nbytes) == (560_000_000, 14_000_000_000)
    assert (down.resident_nbytes, down.device_nbytes) == (0, 0)
