"""Questions go to the shard that owns the camera now; answers of stale owners are refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from actors.errors import CameraRecovering, OwnershipUnproven, ShardUnavailable
from actors.fleet.registry import InMemoryRegistry
from cache_store.leases import UNOWNED_EXPIRY
from pipeline.answers import NoFrames, UnknownCamera
from pipeline.cameras import CameraState, InvalidCamera
from tests import virtual_time
from tests.actors.scripted import ANSWER, DONE, STARTED, ask, camera_spec, scripted_fleet
from tests.virtual_time import until


async def test_closing_an_answer_early_cancels_it_on_the_shard(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    events = fleet.ask("a", "what is in view")
    await anext(events)
    assert shards[0].unfinished == 1

    await events.aclose()

    assert shards[0].unfinished == 0


async def test_a_camera_of_a_shard_that_is_down_cannot_be_asked(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_down = True
    await fleet.get_camera("a")

    with pytest.raises(ShardUnavailable, match="shard 0 is restarting"):
        await ask(fleet, "a")


async def test_a_camera_cannot_be_asked_until_its_shard_has_restored_it(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()

    with pytest.raises(CameraRecovering, match="'a'"):
        await ask(fleet, "a")

    await fleet.reconcile()
    assert await ask(fleet, "a") == list(ANSWER)


async def test_a_question_to_a_camera_that_another_server_removed_says_that_there_is_none(shards) -> None:
    """It used to say once that the camera's memory was being restored, and a client waited for that."""
    registry = InMemoryRegistry()
    fleet, other = (scripted_fleet(*shards, registry=registry) for _ in range(2))
    await fleet.add_camera(camera_spec("a"))
    await other.remove_camera("a")

    with pytest.raises(UnknownCamera, match="'a'"):
        await ask(fleet, "a")


async def test_the_answer_of_a_stale_owner_is_refused(fleet, shards) -> None:
    shards[0].epoch = 7
    await fleet.add_camera(camera_spec("a"))

    with pytest.raises(CameraRecovering, match=r"stale owner, epoch 0 \(newest 7\)"):
        await ask(fleet, "a")


async def test_a_question_is_asked_again_on_the_new_shard_if_its_answer_had_not_begun(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].pause_s = 0.05
    answer = asyncio.create_task(ask(fleet, "a"))
    await asyncio.sleep(0.02)
    shards[1].assignments["a"] = shards[0].assignments["a"]
    shards[1].epoch = 7
    shards[0].answer = [STARTED, OwnershipUnproven("camera 'a': lease")]
    shards[1].answer = [replace(STARTED, epoch=7), DONE]
    await fleet.reconcile()

    assert await answer == [replace(STARTED, epoch=7), DONE]


async def test_a_question_follows_its_camera_although_only_the_store_knows_that_another_server_moved_it(
    shards, leases
) -> None:
    fleet = scripted_fleet(*shards, leases=leases)
    await fleet.add_camera(camera_spec("a"))
    camera_id = (await fleet.get_camera("a")).status.id
    await fleet.list_shards()
    shards[1].epoch = (await leases.acquire(camera_id, "200", expiry=UNOWNED_EXPIRY)).epoch
    shards[1].assignments["a"] = shards[0].assignments.pop("a")
    shards[1].answer = [replace(STARTED, epoch=shards[1].epoch), DONE]

    assert await ask(fleet, "a") == shards[1].answer


async def test_an_answer_is_whole_although_its_shard_ends_right_after_it(fleet, shards) -> None:
    """Its camera has moved away meanwhile, and the process waited for nothing but this answer."""
    await fleet.add_camera(camera_spec("a"))
    shards[0].answer = [*ANSWER, ShardUnavailable("shard 0: its process ended")]

    assert await ask(fleet, "a") == list(ANSWER)


async def test_an_answer_that_has_begun_is_not_repeated(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].answer = [*ANSWER[:2], OwnershipUnproven("camera 'a': lease")]
    events = fleet.ask("a", "what is in view")
    assert [await anext(events), await anext(events)] == list(ANSWER[:2])
    shards[1].assignments["a"] = shards[0].assignments["a"]
    shards[1].epoch = 7
    await fleet.reconcile()

    with pytest.raises(OwnershipUnproven):
        await anext(events)


async def test_a_question_is_asked_again_as_soon_as_its_camera_is_restored(fleet, shards) -> None:
    """On the same shard, too: it does not wait for a move that does not come."""
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()
    shards[0].add_delay_s = 0.6
    restoring = asyncio.create_task(fleet.reconcile())
    began_s = virtual_time.now_s()
    await asyncio.sleep(0.3)

    assert await ask(fleet, "a") == list(ANSWER)
    assert virtual_time.now_s() - began_s < 0.9
    await restoring


async def test_a_question_waits_while_its_camera_moves(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[1].add_delay_s = 3.0
    move = asyncio.create_task(fleet.move_camera("a", 1))
    await until(lambda: not shards[0].assignments)
    assert shards[1].assignments == {}

    assert await ask(fleet, "a") == list(ANSWER)
    assert (await move).shard_index == 1


async def test_a_question_does_not_wait_for_a_move_for_ever(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[1].add_delay_s = 30.0
    move = asyncio.create_task(fleet.move_camera("a", 1))
    await until(lambda: not shards[0].assignments)

    with pytest.raises(CameraRecovering, match="still moving to another shard after 5 s"):
        await ask(fleet, "a")

    assert (await move).shard_index == 1


async def test_a_camera_that_no_shard_can_watch_says_why_and_that_a_retry_is_of_no_use(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    shards[0].restart()
    for shard in shards:
        shard.add_error = InvalidCamera("camera 'a': its URL is refused")
    await fleet.reconcile()

    with pytest.raises(NoFrames, match=r"cannot be watched: .*its URL is refused"):
        await ask(fleet, "a")


async def test_a_camera_is_recovering_since_its_shard_was_missed(shards) -> None:
    now_s = [500.0]
    fleet = scripted_fleet(*shards, clock=lambda: now_s[0])
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_down, now_s[0] = True, 600.0
    first = await fleet.get_camera("a")
    now_s[0] = 700.0
    second = await fleet.get_camera("a")

    assert first.status.state is CameraState.RECOVERING
    assert (first.status.state_since_s, second.status.state_since_s) == (600.0, 600.0)
