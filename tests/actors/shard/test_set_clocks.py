"""A memory may hold times that have not come: the clock that gave them was set back since, or is another machine's."""

from __future__ import annotations

import dataclasses
import time
from functools import partial

import pytest

from actors.shard.camera_shard import CameraShard
from actors.shard.camera_streams import CameraStreams
from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint
from cache_store.errors import StoreUnavailable
from models.llava_onevision import LlavaOnevision
from pipeline.cameras import CameraSpec, PlaybackSpeed
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed_output import OnState
from pipeline.sources.ingest_config import IngestConfig
from tests.actors.shard.shards import STARTED_S, Running, UnreliableStore, has_frames, live, status
from tests.actors.waiting import until
from tests.cache_store.test_checkpoint import FACTS
from tests.pipeline.playing import QUICK

HOUR_S = 3_600.0


def an_hour_back() -> float:
    return time.time() - HOUR_S


class Feed:
    """A feed that gives nothing. resume_from_s: as it was opened."""

    def __init__(self, resume_from_s: float | None) -> None:
        self.resume_from_s, self.is_stopped = resume_from_s, False

    def start(self) -> None: ...

    def stop(self, timeout_s: float = 0.0) -> None:
        self.request_stop()

    def request_stop(self) -> None:
        self.is_stopped = True

    def limit_rate(self, share: float) -> None: ...


def open_feed(
    spec: CameraSpec,
    config: IngestConfig,
    *,
    clips: ClipQueue,
    on_state: OnState,
    camera_id: str,
    resume_from_s: float | None,
    started_s: float,
) -> Feed:
    return Feed(resume_from_s)


def saved(newest_s: float) -> Checkpoint:
    return Checkpoint(dataclasses.replace(FACTS, newest_s=newest_s), (), {})


@pytest.mark.parametrize(("ahead_s", "is_taken_over"), [(0.0, True), (1.0, True), (HOUR_S, False)])
async def test_a_standby_stream_is_taken_over_unless_its_frames_would_be_older_than_the_memory(
    ahead_s: float, is_taken_over: bool
) -> None:
    """A stream that is opened for that memory gives its frames times behind those of the memory."""
    newest_s = STARTED_S + ahead_s
    streams = CameraStreams(ClipQueue(4), QUICK, open_feed, clock=lambda: STARTED_S)
    standby = streams.open_standby(live())

    streams.open(live(), saved(newest_s))

    feed = streams.owned["street"].feed
    assert isinstance(feed, Feed)
    assert (feed is standby.feed) is is_taken_over
    assert feed.resume_from_s == (None if is_taken_over else newest_s)
    assert standby.feed.is_stopped is not is_taken_over  # type: ignore[attr-defined]


def _feed(shard: CameraShard) -> object:
    return shard._streams.owned["street"].feed


def rounds(film: str) -> Assignment:
    """A recording that is played again and again, at the pace of its own clock."""
    spec = CameraSpec(name="street", url=film, pace=PlaybackSpeed.LIVE, loop=True)
    return dataclasses.replace(live(), spec=spec)


@pytest.mark.parametrize("is_back", [True, False])
@pytest.mark.parametrize("is_recording", [True, False])
async def test_erasing_a_memory_whose_times_have_not_come_gives_its_camera_those_of_the_clock_again(
    running: Running,
    film: str,
    checkpoints: UnreliableStore,
    model: LlavaOnevision,
    is_back: bool,
    is_recording: bool,
) -> None:
    """Its next shard is not to go on behind the times that were erased."""
    async with running(clock=an_hour_back if is_back else time.time) as shard:
        await shard.add_camera(rounds(film) if is_recording else live())
        await until(partial(has_frames, shard, "street", 2))
        before = _feed(shard)
        await shard.erase_memory("street")

        assert (_feed(shard) is not before) is is_back
        assert (await checkpoints.load("street", model.spec.fingerprint) is None) is is_back
        await until(partial(has_frames, shard, "street", 2))
        assert "the clock was set back" not in (await status(shard, "street")).detail


async def test_a_memory_whose_times_have_not_come_and_that_cannot_be_erased_goes_on(
    running: Running, checkpoints: UnreliableStore
) -> None:
    async with running(clock=an_hour_back) as shard:
        await shard.add_camera(live())
        await until(partial(has_frames, shard, "street", 2))
        checkpoints.is_down = True
        with pytest.raises(StoreUnavailable):
            await shard.erase_memory("street")

        seen = (await status(shard, "street")).memory.frames_seen
        await until(partial(has_frames, shard, "street", seen + 2))
