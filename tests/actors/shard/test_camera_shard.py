"""The cameras of one device, in this process: real feeds, a real device, a store in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from actors.config.schema import HermesConfig, LeaseConfig, ShardsConfig
from actors.errors import InvalidShard, OwnershipUnproven
from actors.fleet import camera_admission
from actors.shard import camera_lifecycle
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint, StoreUnavailable
from cache_store.leases import OWN_LEASE, InMemoryLeases, LeaseExpiry, OwnedByAnother, Owner, ShardIncarnation
from cache_store.store import GENERATIONS, InMemoryCheckpointStore
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerEvent, Done, InvalidQuestion, Started, Token, UnknownCamera
from pipeline.cameras import (
    CameraExists,
    CameraSpec,
    CameraState,
    CameraStatus,
    MemoryStatus,
    PlaybackSpeed,
    SourceInvalid,
    SourceReason,
    TooManyCameras,
    TooManyTests,
)
from pipeline.decoding import video_writer
from pipeline.device.device_config import DeviceConfig
from tests.actors.waiting import until
from tests.cache_store.test_checkpoint import assert_equal
from tests.pipeline import servers
from tests.pipeline.playing import QUICK

STARTED_S = 1_700_000_000.0
FRAMES_SAMPLED = 48
USUAL_LEASE = LeaseConfig()
QUICK_LEASE = LeaseConfig(length_s=0.6, margin_s=0.1)


class UnreliableStore(InMemoryCheckpointStore):
    """A store in memory that can be down."""

    is_down = False

    def __init__(self) -> None:
        self.owners = InMemoryLeases()
        super().__init__(self.owners)

    async def save(self, camera: str, saved: Checkpoint, owner: Owner) -> None:
        self._require_up()
        await super().save(camera, saved, owner)

    async def delete(self, camera: str) -> None:
        self._require_up()
        await super().delete(camera)

    async def load(self, camera: str, fingerprint: str) -> Checkpoint | None:
        self._require_up()
        return await super().load(camera, fingerprint)

    def _require_up(self) -> None:
        if self.is_down:
            raise StoreUnavailable("store redis://host: refused")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of 24 s."""
    generator = np.random.default_rng(0)
    pictures = (generator.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(FRAMES_SAMPLED))
    path = tmp_path_factory.mktemp("films") / "film"
    video_writer.write_video(pictures, path, fps=2, codec="mjpeg")
    return str(path)


@pytest.fixture
def checkpoints() -> UnreliableStore:
    return UnreliableStore()


Running = Callable[..., "asynccontextmanager[CameraShard]"]


@pytest.fixture
def running(model: LlavaOnevision, checkpoints: UnreliableStore) -> Running:
    @asynccontextmanager
    async def run(
        *,
        every_s: float = 3_600.0,
        max_cameras: int = 2,
        lease: LeaseConfig = USUAL_LEASE,
        on_retired: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[CameraShard]:
        settings = HermesConfig(
            memory=MemoryConfig(tokens_per_layer=128, recent_frames=4),
            ingest=QUICK,
            shards=ShardsConfig(
                checkpoint_every_s=every_s,
                lease=lease,
                device=DeviceConfig(max_cameras=max_cameras, max_answer_tokens=8),
            ),
        )
        held = CameraShard(model, settings, checkpoints, checkpoints.owners, on_retired=on_retired)
        try:
            yield held
        finally:
            await held.close()

    return run


def assignment(name: str, url: str, pace: PlaybackSpeed = PlaybackSpeed.FAST) -> Assignment:
    spec = CameraSpec(name=name, url=url, pace=pace)
    return Assignment(spec=spec, started_s=STARTED_S, expiry=OWN_LEASE)


async def status(held: CameraShard, name: str) -> CameraStatus:
    return next(camera for camera in (await held.status()).cameras if camera.name == name)


async def watch_whole(held: CameraShard, name: str, url: str) -> None:
    """Adds a film and waits until all of it is in the memory."""
    await held.add_camera(assignment(name, url))

    async def is_seen() -> bool:
        found = await status(held, name)
        return found.state is CameraState.ENDED and found.memory.frames_seen == FRAMES_SAMPLED

    await until(is_seen)


async def test_a_film_is_seen_to_its_end_and_answers(running: Running, film: str) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)
        events = [event async for event in held.ask("film", "what is in view")]

    assert isinstance(events[0], Started)
    assert events[0].memory_as_of_s == STARTED_S + 23.5
    assert isinstance(events[-1], Done)
    assert "".join(event.text for event in events if isinstance(event, Token)) == events[-1].answer


async def test_questions_that_cannot_be_asked_are_refused_at_once(running: Running, film: str) -> None:
    async with running() as held:
        await held.add_camera(assignment("film", film))
        with pytest.raises(InvalidQuestion, match="empty"):
            await anext(held.ask("film", "  "))
        with pytest.raises(InvalidQuestion, match="59999 characters"):
            await anext(held.ask("film", "where " * 10_000))
        with pytest.raises(UnknownCamera, match="'flim'"):
            await anext(held.ask("flim", "what is in view"))


async def test_many_questions_at_once_are_all_answered(running: Running, film: str) -> None:
    async def ask(held: CameraShard) -> AnswerEvent:
        return [event async for event in held.ask("film", "what is in view")][-1]

    async with running() as held:
        await watch_whole(held, "film", film)
        last = await asyncio.gather(*(ask(held) for _ in range(12)))

    assert len({event.answer for event in last if isinstance(event, Done)}) == 1


async def test_an_answer_that_is_left_early_leaves_room_for_the_next(running: Running, film: str) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)
        for _ in range(10):
            events = held.ask("film", "what is in view")
            await anext(events)
            await events.aclose()
        assert isinstance([event async for event in held.ask("film", "what is in view")][-1], Done)


async def test_adding_a_camera_twice_is_adding_it_once(running: Running, film: str) -> None:
    async with running() as held:
        await held.add_camera(assignment("film", film))
        await held.add_camera(assignment("film", film))

        assert len((await held.status()).cameras) == 1
        with pytest.raises(CameraExists, match="'film'"):
            await held.add_camera(assignment("film", "sim:street"))


async def test_a_full_shard_refuses_a_camera(running: Running, film: str) -> None:
    async with running(max_cameras=1) as held:
        await held.add_camera(assignment("film", film))
        with pytest.raises(TooManyCameras, match="'more'"):
            await held.add_camera(assignment("more", film))


async def test_a_bad_camera_leaves_the_others_alone(running: Running, film: str, tmp_path: Path) -> None:
    async with running() as held:
        await held.add_camera(assignment("none", str(tmp_path / "none.mp4")))
        await watch_whole(held, "film", film)

        async def has_failed() -> bool:
            return (await status(held, "none")).state is CameraState.FAILED

        await until(has_failed)
        assert "none.mp4" in (await status(held, "none")).detail


async def test_an_address_where_no_camera_may_be_is_refused_at_once(running: Running) -> None:
    """Whoever adds it by hand hears why, although a configured one is tried again for ever."""
    async with running() as held:
        await held.add_camera(assignment("cloud", "http://169.254.169.254/latest"))

        async def has_failed() -> bool:
            return (await status(held, "cloud")).state is CameraState.FAILED

        await until(has_failed)
        seen = await status(held, "cloud")
        refusal = camera_admission._open_error(seen, 10.0)

    assert isinstance(refusal, SourceInvalid)
    assert refusal.reason is SourceReason.ADDRESS_REFUSED
    assert "169.254.169.254" in str(refusal)
    assert "; try 2 in " in seen.detail
    assert str(refusal) == seen.detail.partition("; try 2 in ")[0] + "; the camera was not added"


async def test_a_shard_that_comes_after_takes_over_what_was_saved(running: Running, film: str) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)

    async with running() as held:
        await held.add_camera(assignment("film", film))
        restored = (await status(held, "film")).memory
        assert restored.frames_seen >= FRAMES_SAMPLED
        assert restored.compressions > 0
        assert restored.summary_tier_tokens > 0
        assert restored.checkpointed_s is not None


async def test_what_another_model_saved_is_not_read(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)
    saved = await checkpoints.load("film", model.spec.fingerprint)
    assert saved is not None
    foreign = dataclasses.replace(saved, facts=dataclasses.replace(saved.facts, fingerprint="of another"))
    owner = await checkpoints.owners.acquire("film", "other")
    for _ in range(GENERATIONS):
        await checkpoints.save("film", foreign, owner)
    await checkpoints.owners.release("film", owner)

    async with running() as held:
        await held.add_camera(assignment("film", "sim:street"))
        memory = (await status(held, "film")).memory
        assert memory.compressions == 0
        assert [gap.reason for gap in memory.gaps] == ["its checkpoints could not be read"]


async def test_a_removed_camera_is_forgotten(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running(every_s=0.1) as held:
        await watch_whole(held, "film", film)
        await held.remove_camera("film", is_forgotten=True)

        assert (await held.status()).cameras == ()
        assert await checkpoints.load("film", model.spec.fingerprint) is None
        with pytest.raises(UnknownCamera):
            await held.remove_camera("film", is_forgotten=True)


async def test_a_camera_that_cannot_be_forgotten_goes_on(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable):
            await held.remove_camera("film", is_forgotten=True)

        assert isinstance([event async for event in held.ask("film", "what is in view")][-1], Done)
        checkpoints.is_down = False
        await held.remove_camera("film", is_forgotten=True)


async def test_a_camera_that_only_leaves_can_come_back(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running(every_s=0.1) as held:
        await watch_whole(held, "film", film)

        async def is_saved() -> bool:
            return await checkpoints.load("film", model.spec.fingerprint) is not None

        await until(is_saved)
        await held.remove_camera("film", is_forgotten=False)

    assert await checkpoints.load("film", model.spec.fingerprint) is not None


async def test_a_store_that_is_down_stops_neither_ingest_nor_answers(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running(every_s=0.1) as held:
        await held.add_camera(assignment("film", film))
        checkpoints.is_down = True

        async def is_seen() -> bool:
            return (await status(held, "film")).memory.frames_seen == FRAMES_SAMPLED

        await until(is_seen)
        assert isinstance([event async for event in held.ask("film", "what is in view")][-1], Done)

        checkpoints.is_down = False

        async def is_saved() -> bool:
            return (await status(held, "film")).memory.checkpointed_s is not None

        await until(is_saved)


async def test_a_memory_is_not_begun_anew_while_the_store_is_down(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    """A cold start would overwrite, once the store is back, what a restart could have restored."""
    async with running() as held:
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable):
            await held.add_camera(assignment("film", film))
        assert (await held.status()).cameras == ()


async def test_only_so_many_urls_are_tested_at_a_time(running: Running) -> None:
    with servers.silent_server() as port:
        url = f"http://user:canary@127.0.0.1:{port}/live"
        async with running() as held:
            tests = [asyncio.create_task(held.test_camera(url)) for _ in range(3)]
            done, _ = await asyncio.wait(tests, return_when=asyncio.FIRST_COMPLETED)
            with pytest.raises(TooManyTests, match="at most 2"):
                await done.pop()
            found = [await test for test in tests[:2]]
            again = await held.test_camera("sim:gate")

    assert [one.reason for one in found] == [SourceReason.NO_ANSWER] * 2
    assert again.reason is None
    assert "canary" not in repr(found)


async def test_credentials_in_a_url_are_not_shown(running: Running) -> None:
    async with running() as held:
        await held.add_camera(assignment("gate", "rtsp://user:canary@127.0.0.1:9/1", PlaybackSpeed.LIVE))

        async def has_tried() -> bool:
            return bool((await status(held, "gate")).detail)

        await until(has_tried)
        found = await status(held, "gate")

    assert "127.0.0.1" in found.url
    assert "canary" not in found.url + found.detail


class UnreliableLeases(InMemoryLeases):
    """Leases that cannot be reached for a while."""

    is_down = False

    async def renew(self, incarnation: ShardIncarnation) -> int:
        if self.is_down:
            raise StoreUnavailable("store redis://host: refused")
        return await super().renew(incarnation)


async def test_an_answer_says_as_which_owner_it_was_given(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)
        started = await anext(held.ask("film", "what is in view"))
        owner = await checkpoints.owners.owner("film")

        assert owner is not None
        assert isinstance(started, Started)
        assert started.epoch == (await status(held, "film")).epoch == owner.epoch


async def test_a_camera_of_another_shard_is_not_taken(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    await checkpoints.owners.acquire("film", "other", gone=OWN_LEASE)
    async with running() as held:
        with pytest.raises(OwnedByAnother, match="shard other"):
            await held.add_camera(assignment("film", film))

        assert (await held.status()).cameras == ()


async def test_a_shard_that_cannot_renew_its_lease_refuses_and_sees_on_until_it_can(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    owners = checkpoints.owners = UnreliableLeases()
    checkpoints._owners = owners
    async with running(lease=QUICK_LEASE) as held:
        await held.add_camera(assignment("film", film))
        owners.is_down = True

        async def is_refused() -> bool:
            try:
                await anext(held.ask("film", "what is in view"))
            except OwnershipUnproven:
                return True
            return False

        await until(is_refused)

        async def is_seen() -> bool:
            return (await status(held, "film")).memory.frames_seen == FRAMES_SAMPLED

        await until(is_seen)
        owners.is_down = False

        async def is_answered() -> bool:
            return not await is_refused()

        await until(is_answered)


async def test_a_shard_lets_go_of_a_camera_that_another_took_over_while_it_could_not_renew(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    owners = checkpoints.owners = UnreliableLeases()
    checkpoints._owners = owners
    async with running(lease=QUICK_LEASE, every_s=0.1) as held:
        await watch_whole(held, "film", film)
        await held.add_camera(assignment("more", "sim:street"))
        before = await owners.owner("film")
        assert before is not None
        owners.is_down = True
        await asyncio.sleep(QUICK_LEASE.length_s)
        lease = await owners.lease(before.incarnation)
        assert lease is not None
        after = await owners.acquire("film", "other", gone=LeaseExpiry(before.incarnation, lease.renewals))
        owners.is_down = False

        async def is_lost() -> bool:
            return [camera.name for camera in (await held.status()).cameras] == ["more"]

        await until(is_lost)

        assert await owners.owner("film") == after
        with pytest.raises(UnknownCamera):
            await anext(held.ask("film", "what is in view"))


async def test_a_store_that_comes_back_empty_hears_of_the_cameras_again_in_a_higher_epoch(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running(lease=QUICK_LEASE) as held:
        await watch_whole(held, "film", film)
        before = (await status(held, "film")).epoch
        checkpoints.owners.forget_everything()

        async def is_owned_again() -> bool:
            return await checkpoints.owners.owner("film") is not None

        await until(is_owned_again)

        async def is_higher() -> bool:
            return (await status(held, "film")).epoch > before

        await until(is_higher)


async def test_a_camera_that_moves_takes_all_tiers_along_to_the_bit(running: Running, film: str) -> None:
    async with running() as source, running() as target:
        await watch_whole(source, "film", film)
        before = await asyncio.wrap_future(source._engine.snapshot("film", is_whole=True))
        was = (await status(source, "film")).memory

        await source.remove_camera("film", is_forgotten=False)
        await target.add_camera(assignment("film", film))

        after = await asyncio.wrap_future(target._engine.snapshot("film", is_whole=True))
        now = (await status(target, "film")).memory
        assert was.recent_window_tokens > 0
        assert (now.recent_window_tokens, now.frames_seen) == (was.recent_window_tokens, was.frames_seen)
        assert now.gaps == was.gaps
        assert_equal(after, dataclasses.replace(before, facts=after.facts))


async def test_a_camera_whose_memory_cannot_be_saved_stays(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running() as held:
        await watch_whole(held, "film", film)
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable, match="could not be saved, so it stays"):
            await held.remove_camera("film", is_forgotten=False)

        assert isinstance([event async for event in held.ask("film", "what is in view")][-1], Done)
        checkpoints.is_down = False


async def test_a_camera_whose_next_owner_looked_ahead_loses_no_frame_in_a_move(running: Running) -> None:
    def due(memory: MemoryStatus, begun_s: float) -> int:
        """How many sampled moments of the scene there were since the first that was seen."""
        assert memory.newest_s is not None
        return round((memory.newest_s - begun_s) * 2) + 1

    live = assignment("street", f"sim:street?start={int(time.time())}", PlaybackSpeed.LIVE)
    async with running() as one, running() as other:
        await one.add_camera(live)
        await until(partial(seen, one, "street", 4))
        begun_s = (await status(one, "street")).memory.oldest_s
        assert begun_s is not None

        await other.add_camera(dataclasses.replace(live, is_standby=True))
        assert (await other.status()).cameras == ()
        await until(partial(held_since, other, "street"))
        since_s = (await other.status()).standby["street"]
        await until(partial(seen_until, one, "street", since_s))
        successor = (await other.status()).incarnation
        await one.remove_camera("street", is_forgotten=False, successor=successor)
        before = (await other.status()).standby
        await other.add_camera(live)
        await until(partial(seen_until, other, "street", since_s + 4.0))

        memory = (await status(other, "street")).memory
        assert before == {"street": since_s}
        assert (await other.status()).standby == {}
        assert memory.frames_seen == due(memory, begun_s)
        assert memory.frames_dropped == 0
        assert memory.gaps == ()


async def seen(held: CameraShard, name: str, frames: int) -> bool:
    return (await status(held, name)).memory.frames_seen >= frames


async def seen_until(held: CameraShard, name: str, time_s: float | None) -> bool:
    newest_s = (await status(held, name)).memory.newest_s
    return newest_s is not None and time_s is not None and newest_s >= time_s


async def held_since(held: CameraShard, name: str) -> bool:
    return (await held.status()).standby[name] is not None


async def test_a_camera_that_is_left_to_an_heir_goes_to_nobody_else(running: Running, film: str) -> None:
    async with running() as one, running() as other, running() as third:
        await watch_whole(one, "film", film)
        await one.remove_camera("film", is_forgotten=False, successor=(await other.status()).incarnation)

        with pytest.raises(OwnedByAnother):
            await third.add_camera(assignment("film", film))
        await other.add_camera(assignment("film", film))

        assert (await status(other, "film")).memory.frames_seen == FRAMES_SAMPLED


async def test_a_shard_that_looks_ahead_in_vain_lets_the_stream_go(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_lifecycle, "_MAX_STANDBY_S", 0.05)
    live = assignment("street", f"sim:street?start={int(time.time())}", PlaybackSpeed.LIVE)
    async with running() as held:
        await held.add_camera(dataclasses.replace(live, is_standby=True))
        await until(partial(is_empty, held))


async def is_empty(held: CameraShard) -> bool:
    return (await held.status()).standby == {}


async def test_a_shard_that_is_drained_takes_no_more_and_leaves_what_it_refuses_to_others(
    running: Running, film: str
) -> None:
    async with running() as held, running() as other:
        await held.add_camera(assignment("film", film))
        await held.drain()

        with pytest.raises(InvalidShard, match="'more'"):
            await held.add_camera(assignment("more", film))
        assert (await held.status()).is_draining
        assert [camera.name for camera in (await held.status()).cameras] == ["film"]
        await other.add_camera(assignment("more", film))


async def test_a_shard_that_is_told_to_stop_speaks_no_more_and_says_so(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    told: list[bool] = []
    async with running(lease=QUICK_LEASE, on_retired=lambda: told.append(True)) as held:
        await watch_whole(held, "film", film)
        await checkpoints.owners.retire((await held.status()).incarnation)
        await until(lambda: bool(told))

        with pytest.raises(OwnershipUnproven):
            await anext(held.ask("film", "what is in view"))
