"""How cameras come to a shard and leave it: acquired, lost, on standby, moved."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial

import pytest
import structlog

from actors.errors import InvalidShard, OwnershipUnproven
from actors.shard import camera_lifecycle
from cache_store.errors import CameraFenced, OwnedByAnother
from cache_store.leases import UNOWNED_EXPIRY, LeaseExpiry
from pipeline.answers import Done, UnknownCamera
from pipeline.cameras import (
    CameraState,
    TooManyCameras,
)
from pipeline.memory_status import MemoryStatus
from pipeline.sources.clip_queue import ClipQueue
from tests.actors.shard.shards import (
    FRAMES_SAMPLED,
    QUICK_LEASE,
    Running,
    UnreliableStore,
    assignment,
    has_ended,
    has_frames,
    has_seen_until,
    has_standby_frame,
    is_empty,
    live,
    status,
    watch_whole,
)
from tests.actors.waiting import until


async def test_adding_the_same_camera_twice_changes_nothing(running: Running, film: str) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        await shard.add_camera(assignment("film", film))

        assert len((await shard.status()).cameras) == 1


async def test_adding_an_owned_camera_again_raises_its_epoch_above_the_minimum(running: Running, film: str) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        min_epoch = (await status(shard, "film")).epoch + 1_000_000
        await shard.add_camera(dataclasses.replace(assignment("film", film), min_epoch=min_epoch))

        assert (await status(shard, "film")).epoch >= min_epoch


async def test_a_full_shard_refuses_a_camera(running: Running, film: str) -> None:
    async with running(max_cameras=1) as shard:
        await shard.add_camera(assignment("film", film))
        with pytest.raises(TooManyCameras, match="'more'"):
            await shard.add_camera(assignment("more", film))


async def test_a_camera_of_another_shard_is_not_acquired(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    await checkpoints.leases.acquire("film", "other", expiry=UNOWNED_EXPIRY)
    async with running() as shard:
        with pytest.raises(OwnedByAnother, match="shard other"):
            await shard.add_camera(assignment("film", film))

        assert (await shard.status()).cameras == ()


async def test_a_stale_owner_ends_a_camera_that_another_shard_acquired(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    leases = checkpoints.leases
    async with running(lease=QUICK_LEASE, every_s=0.1) as shard:
        await watch_whole(shard, "film", film)
        await shard.add_camera(assignment("more", "sim:street"))
        before = await leases.owner("film")
        assert before is not None
        leases.is_down = True
        await asyncio.sleep(QUICK_LEASE.length_s)
        lease = await leases.lease(before.incarnation)
        assert lease is not None
        after = await leases.acquire("film", "other", expiry=LeaseExpiry(before.incarnation, lease.renewals))
        leases.is_down = False

        async def is_lost() -> bool:
            return [camera.name for camera in (await shard.status()).cameras] == ["more"]

        await until(is_lost)

        assert await leases.owner("film") == after
        with pytest.raises(UnknownCamera):
            await anext(shard.ask("film", "what is in view"))
        await shard.drop_camera("film")  # waits until it has left
        assert (await shard.status()).counts.cameras_lost == 1


async def test_cameras_are_acquired_again_in_a_higher_epoch_after_the_store_lost_its_data(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running(lease=QUICK_LEASE) as shard:
        await watch_whole(shard, "film", film)
        before = (await status(shard, "film")).epoch
        checkpoints.leases.forget_everything()

        async def is_owned_again() -> bool:
            return await checkpoints.leases.owner("film") is not None

        await until(is_owned_again)

        async def is_higher() -> bool:
            return (await status(shard, "film")).epoch > before

        await until(is_higher)


async def test_a_move_to_a_standby_shard_loses_no_frame(running: Running) -> None:
    def due(memory: MemoryStatus, begun_s: float) -> int:
        """How many sampled moments of the scene there were since the first that was seen."""
        assert memory.newest_s is not None
        return round((memory.newest_s - begun_s) * 2) + 1

    street = live()
    async with running() as one, running() as other:
        await one.add_camera(street)
        await until(partial(has_frames, one, "street", 4))
        begun_s = (await status(one, "street")).memory.oldest_s
        assert begun_s is not None

        await other.add_camera(dataclasses.replace(street, is_standby=True))
        assert (await other.status()).cameras == ()
        await until(partial(has_standby_frame, other, "street"))
        since_s = (await other.status()).standby["street"]
        await until(partial(has_seen_until, one, "street", since_s))
        successor = (await other.status()).incarnation
        await one.release_camera("street", successor=successor)
        before = (await other.status()).standby
        await other.add_camera(street)
        await until(partial(has_seen_until, other, "street", since_s + 4.0))

        memory = (await status(other, "street")).memory
        assert before == {"street": since_s}
        assert (await other.status()).standby == {}
        assert memory.frames_seen == due(memory, begun_s)
        assert memory.frames_dropped == 0
        assert memory.gaps == ()


async def test_a_released_camera_can_be_acquired_by_its_successor_only(running: Running, film: str) -> None:
    async with running() as one, running() as other, running() as third:
        await watch_whole(one, "film", film)
        await one.release_camera("film", successor=(await other.status()).incarnation)

        with pytest.raises(OwnedByAnother):
            await third.add_camera(assignment("film", film))
        await other.add_camera(assignment("film", film))

        assert (await status(other, "film")).memory.frames_seen == FRAMES_SAMPLED


@pytest.mark.parametrize("is_lapsed", [True, False])
async def test_a_memory_outlives_a_store_that_was_away_and_came_back_empty(
    running: Running, film: str, checkpoints: UnreliableStore, is_lapsed: bool
) -> None:
    """The shard has the only copy. It is silent until it owns the camera again by a proof that nothing else does."""
    leases = checkpoints.leases
    async with running(lease=QUICK_LEASE) as shard:
        await watch_whole(shard, "film", film)
        before = await status(shard, "film")
        leases.is_down = is_lapsed
        if is_lapsed:
            await until(lambda: not shard._lease_holder.is_proven)
        leases.forget_everything()
        checkpoints.forget_everything()
        leases.is_down = False

        async def is_silent() -> bool:
            return (await status(shard, "film")).state is CameraState.RECOVERING

        if is_lapsed:
            await until(is_silent)
            with pytest.raises(OwnershipUnproven, match=r"'film'.*lost its record"):
                await anext(shard.ask("film", "what is in view"))
            assert (await status(shard, "film")).epoch == 0
            with pytest.raises(OwnedByAnother):
                await shard.add_camera(dataclasses.replace(assignment("film", film), expiry=None))
            await shard.add_camera(dataclasses.replace(assignment("film", film), min_epoch=before.epoch))

        async def is_owned_again() -> bool:
            return (await status(shard, "film")).epoch > before.epoch

        await until(is_owned_again)
        after = await status(shard, "film")
        assert (after.state, after.memory.frames_seen) == (before.state, before.memory.frames_seen)
        assert isinstance([event async for event in shard.ask("film", "what is in view")][-1], Done)


async def test_an_updated_spec_keeps_the_memory_and_opens_the_stream_anew_only_if_its_frames_change(
    running: Running,
) -> None:
    street = live()
    masks = (((0.0, 0.0), (1.0, 0.0), (1.0, 0.5)),)
    async with running() as shard:
        await shard.add_camera(street)
        await until(partial(has_frames, shard, "street", 4))
        before, stream = await status(shard, "street"), shard._streams.owned["street"]

        ungated = dataclasses.replace(street, spec=dataclasses.replace(street.spec, gate=False, labels={"site": "n"}))
        await shard.update_camera(ungated)
        same_stream = shard._streams.owned["street"]
        masked = dataclasses.replace(ungated, spec=dataclasses.replace(ungated.spec, masks=masks))
        await shard.update_camera(masked)

        assert same_stream is stream
        assert same_stream.spec == ungated.spec
        assert shard._streams.owned["street"] is not stream
        await until(partial(has_frames, shard, "street", before.memory.frames_seen + 4))
        after = await status(shard, "street")
        assert after.masks == masks
        assert after.memory.oldest_s is not None
        assert before.memory.newest_s is not None
        assert after.memory.oldest_s <= before.memory.newest_s
        assert after.epoch == before.epoch
        with pytest.raises(UnknownCamera):
            await shard.update_camera(dataclasses.replace(masked, id="another"))


async def test_a_recording_whose_rate_changes_is_read_once_though_frames_of_it_were_on_their_way(
    running: Running, film: str
) -> None:
    recording = assignment("film", film)
    faster = dataclasses.replace(recording, spec=dataclasses.replace(recording.spec, frames_per_second=2.0))
    async with running() as shard:
        await shard.add_camera(recording)
        await until(partial(has_frames, shard, "film", 4))
        clips = shard._engine.clips
        clips.hold_back("film")
        await until(partial(has_waiting_clip, clips, "film"))
        await shard.update_camera(faster)
        clips.release("film")

        await until(partial(has_ended, shard, "film"))
        memory = (await status(shard, "film")).memory
        assert (memory.frames_seen, memory.frames_dropped, memory.gaps) == (FRAMES_SAMPLED, 0, ())


async def test_a_recording_that_was_erased_is_not_read_again_when_its_rate_changes(running: Running, film: str) -> None:
    """It began anew, because nothing said any more how far it had come: what was erased came back."""
    faster = assignment("film", film)
    faster = dataclasses.replace(faster, spec=dataclasses.replace(faster.spec, frames_per_second=2.0))
    async with running() as shard:
        await watch_whole(shard, "film", film)
        await shard.erase_memory("film")
        await shard.update_camera(faster)

        await until(partial(has_ended, shard, "film"))
        assert (await status(shard, "film")).memory.frames_seen == 0


async def has_waiting_clip(clips: ClipQueue, name: str) -> bool:
    return clips.held_back_since_s(name) is not None


async def test_adding_a_camera_of_this_shard_with_another_spec_updates_it(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        masked = assignment("film", film)
        masks = (((0.0, 0.0), (1.0, 0.0), (1.0, 0.5)),)
        await shard.add_camera(dataclasses.replace(masked, spec=dataclasses.replace(masked.spec, masks=masks)))

        found = await status(shard, "film")
        assert (found.masks, found.memory.frames_seen) == (masks, FRAMES_SAMPLED)


async def test_a_dropped_camera_is_released_unsaved(running: Running, film: str, checkpoints: UnreliableStore) -> None:
    async with running() as shard, running() as other:
        await watch_whole(shard, "film", film)
        await shard.drop_camera("film")
        await shard.drop_camera("film")

        assert (await shard.status()).cameras == ()
        assert checkpoints.saves == 0
        await other.add_camera(dataclasses.replace(assignment("film", film), expiry=None))


@pytest.mark.parametrize("is_saved", [True, False])
async def test_a_camera_whose_leaving_is_cancelled_while_its_lease_is_released_has_left(
    running: Running, film: str, checkpoints: UnreliableStore, is_saved: bool
) -> None:
    """It had no stream any more, and kept its slot: neither it nor another camera could come."""
    leases = checkpoints.leases
    async with running(max_cameras=1) as shard:
        await watch_whole(shard, "film", film)
        leases.may_release.clear()
        leaving = asyncio.create_task((shard.release_camera if is_saved else shard.drop_camera)("film"))
        await leases.has_begun_release.wait()
        leaving.cancel()
        await asyncio.sleep(0)
        leases.may_release.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving

        assert (await shard.status()).cameras == ()
        await shard.add_camera(assignment("film", film))
        if is_saved:
            assert (await status(shard, "film")).memory.frames_seen == FRAMES_SAMPLED


async def test_the_shard_s_lines_about_a_camera_that_leaves_it_name_its_epoch(running: Running, film: str) -> None:
    async with running() as shard:
        with structlog.testing.capture_logs() as lines:
            for leave in (shard.release_camera, shard.drop_camera):
                await shard.add_camera(assignment("film", film))
                await leave("film")

    events = ("camera_opened", "camera_released", "camera_dropped")
    opened, released, again, dropped = [line for line in lines if line["event"] in events]
    assert [line["event"] for line in (released, dropped)] == ["camera_released", "camera_dropped"]
    assert [line["epoch"] for line in (released, dropped)] == [line["epoch"] for line in (opened, again)]
    assert {line["camera_id"] for line in (released, dropped)} == {"film"}


async def test_a_fenced_camera_is_ended_on_its_shard_and_added_to_none(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running(lease=QUICK_LEASE) as shard, running() as other:
        await watch_whole(shard, "film", film)
        await checkpoints.leases.fence("film")

        async def is_ended() -> bool:
            return (await shard.status()).cameras == ()

        await until(is_ended)
        for one in (shard, other):
            with pytest.raises(CameraFenced, match="removed"):
                await one.add_camera(assignment("film", film))

        assert (await shard.status()).counts.cameras_lost == 0


async def test_a_standby_stream_that_is_not_used_is_closed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_lifecycle, "_MAX_STANDBY_S", 0.05)
    street = live()
    async with running() as shard:
        await shard.add_camera(dataclasses.replace(street, is_standby=True))
        await until(partial(is_empty, shard))


async def test_a_camera_whose_spec_changed_while_it_stood_by_gives_frames_to_its_owner(running: Running) -> None:
    """The clips of the stream with the old spec are held back, and were together with those of the new one."""
    street = live()
    changed = dataclasses.replace(street, spec=dataclasses.replace(street.spec, labels={"floor": "2"}), revision=1)
    async with running() as shard:
        await shard.add_camera(dataclasses.replace(street, is_standby=True))
        await until(partial(has_standby_frame, shard, "street"))

        await shard.add_camera(changed)

        await until(partial(has_frames, shard, "street", 2))
        assert (await shard.status()).standby == {}


async def test_a_draining_shard_refuses_new_cameras_and_leaves_them_to_others(running: Running, film: str) -> None:
    async with running() as shard, running() as other:
        await shard.add_camera(assignment("film", film))
        await shard.drain()

        with pytest.raises(InvalidShard, match="'more'"):
            await shard.add_camera(assignment("more", film))
        assert (await shard.status()).is_draining
        assert [camera.name for camera in (await shard.status()).cameras] == ["film"]
        await other.add_camera(assignment("more", film))

        await shard.undrain()
        await shard.add_camera(assignment("third", film))
        assert not (await shard.status()).is_draining
