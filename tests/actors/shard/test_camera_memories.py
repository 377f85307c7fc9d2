"""What a camera's memory is restored from and saved to when it comes and goes."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from functools import partial
from pathlib import Path

import pytest

from cache_store.errors import OwnedByAnother, StoreUnavailable
from cache_store.leases import UNOWNED_EXPIRY, LeaseExpiry
from cache_store.store import GENERATIONS
from models.llava_onevision import LlavaOnevision
from pipeline.answers import Done, UnknownCamera
from tests.actors.shard.shards import (
    FRAMES_SAMPLED,
    Running,
    UnreliableStore,
    assignment,
    has_ended,
    has_frames,
    is_timed,
    live,
    status,
    watch_whole,
)
from tests.actors.waiting import until
from tests.cache_store.test_checkpoint import assert_equal
from tests.pipeline.device.pausing_model import PausingModel


async def test_a_new_shard_restores_the_saved_memory(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)

    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        restored = (await status(shard, "film")).memory
        assert restored.frames_seen >= FRAMES_SAMPLED
        assert restored.compactions > 0
        assert restored.summary_tier_tokens > 0
        assert restored.checkpointed_s is not None


async def test_of_a_camera_that_was_away_the_newest_checkpoint_counts_and_not_what_this_shard_saved_before(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    """It was shown as saved when this shard had last saved it, hours ago, and an alert said that saving is late."""
    async with running() as shard:
        await watch_whole(shard, "film", film)
        await shard.release_camera("film")
        saved = await checkpoints.load("film", model.spec.fingerprint)
        assert saved is not None
        owner = await checkpoints.leases.acquire("film", "other")
        later = dataclasses.replace(saved.facts, saved_s=saved.facts.saved_s + 100.0)
        await checkpoints.save("film", dataclasses.replace(saved, facts=later), owner)
        await checkpoints.leases.release("film", owner)

        await shard.add_camera(assignment("film", film))

        assert (await status(shard, "film")).memory.checkpointed_s == later.saved_s


async def test_a_checkpoint_of_another_model_is_not_loaded_and_leaves_a_gap(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
    saved = await checkpoints.load("film", model.spec.fingerprint)
    assert saved is not None
    foreign = dataclasses.replace(saved, facts=dataclasses.replace(saved.facts, fingerprint="of another"))
    owner = await checkpoints.leases.acquire("film", "other")
    for _ in range(GENERATIONS):
        await checkpoints.save("film", foreign, owner)
    await checkpoints.leases.release("film", owner)

    async with running() as shard:
        await shard.add_camera(assignment("film", "sim:street"))
        memory = (await status(shard, "film")).memory
        assert memory.compactions == 0
        assert [gap.reason for gap in memory.gaps] == ["its checkpoints could not be read"]


async def test_a_shard_says_which_memories_it_reads_and_first_which_it_writes(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        fingerprints = (await shard.status()).fingerprints

    saved = await checkpoints.load("film", *fingerprints)
    assert saved is not None
    assert fingerprints == (saved.facts.fingerprint, model.spec.previous_fingerprint)


async def test_a_memory_that_the_version_before_saved_of_this_model_is_restored(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    """Its fingerprint was another one."""
    async with running() as shard:
        await watch_whole(shard, "film", film)
    saved = await checkpoints.load("film", model.spec.fingerprint)
    assert saved is not None
    previous = dataclasses.replace(saved.facts, fingerprint=model.spec.previous_fingerprint)
    owner = await checkpoints.leases.acquire("film", "other")
    for _ in range(GENERATIONS):
        await checkpoints.save("film", dataclasses.replace(saved, facts=previous), owner)
    await checkpoints.leases.release("film", owner)

    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        memory = (await status(shard, "film")).memory
        assert memory.frames_seen >= FRAMES_SAMPLED
        assert memory.compactions > 0


async def test_a_crash_before_the_first_checkpoint_leaves_a_gap_from_the_begin_to_the_next_frame(
    running: Running, checkpoints: UnreliableStore
) -> None:
    await checkpoints.leases.acquire("street", "before", expiry=UNOWNED_EXPIRY)
    street = dataclasses.replace(live(), started_s=time.time() - 60, expiry=LeaseExpiry("before", None, is_dead=True))
    async with running() as shard:
        await shard.add_camera(street)
        await until(partial(has_frames, shard, "street", 1))
        memory = (await status(shard, "street")).memory

    (gap,) = memory.gaps
    assert (gap.start_s, gap.end_s) == (street.started_s, memory.oldest_s)
    assert gap.reason == "no frame of it was saved yet"


async def test_erasing_a_memory_deletes_its_checkpoints(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running(every_s=0.1) as shard:
        await watch_whole(shard, "film", film)
        await shard.erase_memory("film")

        memory = (await status(shard, "film")).memory
        assert (memory.frames_seen, memory.oldest_s, memory.thumbnails) == (0, None, 0)
        assert [gap.reason for gap in memory.gaps] == ["its memory was erased"]
        await require_nothing_of_it(checkpoints, "film", model)
        with pytest.raises(UnknownCamera):
            await shard.erase_memory("flim")


async def require_nothing_of_it(checkpoints: UnreliableStore, camera: str, model: LlavaOnevision) -> None:
    """The store knows up to when the camera's memory was erased, and nothing of what was in it."""
    saved = await checkpoints.load(camera, model.spec.fingerprint)
    assert saved is not None
    assert (saved.facts.frames_seen, saved.thumbnails) == (0, {})
    assert [len(layer) for layer in saved.layers] == [0] * model.spec.kv.num_layers


@pytest.mark.parametrize("leaves", ["moved", "dropped", "saved at the end of its shard"])
async def test_a_recording_whose_memory_was_erased_goes_on_behind_that_on_its_next_shard(
    running: Running, film: str, leaves: str
) -> None:
    """What was erased came back: nothing said any more how far it had come, so it was read from its begin."""
    recording = assignment("film", film)
    faster = dataclasses.replace(recording, spec=dataclasses.replace(recording.spec, frames_per_second=2.0))
    async with running() as shard:
        await watch_whole(shard, "film", film)
        await shard.erase_memory("film")
        erased = (await status(shard, "film")).memory
        if leaves == "moved":
            await shard.release_camera("film")
        elif leaves == "dropped":  # as after a crash: nothing is saved then
            await shard.drop_camera("film")

    async with running() as shard:
        for camera in (recording, faster):
            await shard.add_camera(camera)
            await until(partial(has_ended, shard, "film"))
            memory = (await status(shard, "film")).memory
            assert (memory.frames_seen, memory.oldest_s, memory.newest_s) == (0, None, None)
            assert memory.gaps == erased.gaps
        await shard.erase_memory("film")

    async with running() as shard:
        await shard.add_camera(recording)
        await until(partial(has_ended, shard, "film"))
        assert (await status(shard, "film")).memory.frames_seen == 0


async def test_frames_that_wait_when_a_memory_is_erased_are_not_read_by_its_next_shard(
    running: Running, film: str
) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        await until(partial(has_frames, shard, "film", 4))
        clips = shard._engine.clips
        clips.hold_back("film")
        await until(lambda: clips.held_back_since_s("film") is not None)
        until_s = clips.newest_s("film")
        await shard.erase_memory("film")
        await shard.drop_camera("film")
    assert until_s is not None

    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        await until(partial(has_ended, shard, "film"))
        oldest_s = (await status(shard, "film")).memory.oldest_s
        assert oldest_s is None or oldest_s > until_s


async def test_a_camera_that_leaves_while_its_first_step_is_appended_takes_it_along(
    running: Running, film: str, model: LlavaOnevision
) -> None:
    """It counted as one without frames, and its next shard reported that no frame of it was saved."""
    pausing = PausingModel(model)
    async with running(model=pausing) as shard, running() as successor:
        await is_timed(shard)
        pausing.pause(at_frames=True)
        await shard.add_camera(assignment("film", film))
        assert await asyncio.to_thread(pausing.has_begun.wait, 60.0)
        leaving = asyncio.create_task(shard.release_camera("film"))
        await until(lambda: shard._engine.has_command)
        pausing.resume()
        await leaving

        await successor.add_camera(assignment("film", film))
        restored = (await status(successor, "film")).memory
        assert restored.frames_seen >= 4
        await until(partial(has_ended, successor, "film"))
        memory = (await status(successor, "film")).memory
        assert (memory.frames_seen, memory.gaps) == (FRAMES_SAMPLED, ())


async def test_a_camera_without_frames_leaves_though_the_store_is_down(
    running: Running, checkpoints: UnreliableStore, tmp_path: Path
) -> None:
    """It has nothing to save."""
    async with running() as shard:
        await shard.add_camera(assignment("none", str(tmp_path / "none.mp4")))
        checkpoints.is_down = True
        await shard.release_camera("none")

        assert (await shard.status()).cameras == ()
        assert checkpoints.saves == 0
        checkpoints.is_down = False
        await shard.add_camera(assignment("none", str(tmp_path / "none.mp4")))


async def test_a_save_that_was_on_its_way_when_the_memory_was_erased_is_refused(
    running: Running, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running() as shard:
        await shard.add_camera(live())
        await until(partial(has_frames, shard, "street", 4))
        before = await checkpoints.leases.owner("street")
        assert before is not None
        late = await asyncio.wrap_future(shard._engine.snapshot("street", is_whole=True))

        await shard.erase_memory("street")
        with pytest.raises(OwnedByAnother):
            await checkpoints.save("street", late, before)

        await require_nothing_of_it(checkpoints, "street", model)
        await until(partial(has_frames, shard, "street", 2))
        assert isinstance([event async for event in shard.ask("street", "what is in view")][-1], Done)


async def test_a_memory_that_cannot_be_erased_now_stays_as_it_was(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable):
            await shard.erase_memory("film")

        assert (await status(shard, "film")).memory.frames_seen == FRAMES_SAMPLED


async def test_a_memory_that_starts_empty_after_the_store_lost_everything_has_a_gap_since_its_camera_was_added(
    running: Running, checkpoints: UnreliableStore
) -> None:
    street = live()
    earlier = dataclasses.replace(street, started_s=street.started_s - 600.0)
    async with running() as shard:
        await shard.add_camera(earlier)
        await until(partial(has_frames, shard, "street", 1))
        memory = (await status(shard, "street")).memory
        await shard.drop_camera("street")
        await shard.add_camera(dataclasses.replace(street, id="new"))
        await until(partial(has_frames, shard, "street", 1))
        new = (await status(shard, "street")).memory

    (gap,) = memory.gaps
    assert memory.oldest_s is not None
    assert (gap.start_s, gap.reason) == (earlier.started_s, "the store has no checkpoint of it")
    assert street.started_s <= gap.end_s <= memory.oldest_s
    assert new.gaps == ()


async def test_a_camera_that_cannot_be_removed_is_watched_answers_and_is_saved(
    running: Running, checkpoints: UnreliableStore
) -> None:
    async with running(every_s=0.1) as shard:
        await shard.add_camera(live())
        await until(partial(has_frames, shard, "street", 1))
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable):
            await shard.release_camera("street")
        checkpoints.is_down = False

        saves, frames_seen = checkpoints.saves, (await status(shard, "street")).memory.frames_seen
        await until(partial(has_frames, shard, "street", frames_seen + 2))
        await until(lambda: checkpoints.saves > saves)
        assert isinstance([event async for event in shard.ask("street", "what is in view")][-1], Done)
        await shard.release_camera("street")


async def test_a_camera_whose_removal_is_cancelled_is_watched_and_saved(
    running: Running, checkpoints: UnreliableStore
) -> None:
    """Its clips were held back for good, and nothing saved it any more."""
    async with running(every_s=0.1) as shard:
        await shard.add_camera(live())
        await until(partial(has_frames, shard, "street", 4))
        removal = asyncio.create_task(shard.release_camera("street"))
        while "street" in shard._checkpointer._tasks:  # noqa: ASYNC110 - no event tells that it is ending the saving
            await asyncio.sleep(0)
        removal.cancel()
        with pytest.raises(asyncio.CancelledError):
            await removal

        saves = checkpoints.saves
        await until(lambda: checkpoints.saves > saves)
        await until(partial(has_frames, shard, "street", (await status(shard, "street")).memory.frames_seen + 4))


async def test_a_camera_that_leaves_keeps_its_checkpoint(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running(every_s=0.1) as shard:
        await watch_whole(shard, "film", film)

        async def is_saved() -> bool:
            return await checkpoints.load("film", model.spec.fingerprint) is not None

        await until(is_saved)
        await shard.release_camera("film")

    assert await checkpoints.load("film", model.spec.fingerprint) is not None


async def test_a_store_that_is_down_stops_neither_ingest_nor_answers(
    running: Running, checkpoints: UnreliableStore
) -> None:
    async with running(every_s=0.1) as shard:
        await shard.add_camera(live())

        async def is_saved() -> bool:
            return (await status(shard, "street")).memory.checkpointed_s is not None

        await until(is_saved)
        checkpoints.is_down = True
        frames_seen = (await status(shard, "street")).memory.frames_seen

        await until(partial(has_frames, shard, "street", frames_seen + 2))
        assert isinstance([event async for event in shard.ask("street", "what is in view")][-1], Done)

        saves = checkpoints.saves
        checkpoints.is_down = False
        await until(lambda: checkpoints.saves > saves)


async def test_no_memory_starts_empty_while_the_store_is_down(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    """A cold start would overwrite, once the store is back, what a restart could have restored."""
    async with running() as shard:
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable):
            await shard.add_camera(assignment("film", film))
        assert (await shard.status()).cameras == ()


async def test_a_move_keeps_all_tiers_bit_by_bit(running: Running, film: str) -> None:
    async with running() as source, running() as target:
        await watch_whole(source, "film", film)
        before = await asyncio.wrap_future(source._engine.snapshot("film", is_whole=True))
        was = (await status(source, "film")).memory

        await source.release_camera("film")
        await target.add_camera(assignment("film", film))

        after = await asyncio.wrap_future(target._engine.snapshot("film", is_whole=True))
        now = (await status(target, "film")).memory
        assert was.recent_window_tokens > 0
        assert (now.recent_window_tokens, now.frames_seen) == (was.recent_window_tokens, was.frames_seen)
        assert now.gaps == was.gaps
        assert_equal(after, dataclasses.replace(before, facts=after.facts))
