"""What a shard counts of its work: nothing twice, nothing of before it had the camera, and every question once."""

from __future__ import annotations

import dataclasses

import pytest

from actors.shard.frame_counter import FrameCounter
from actors.shard.question_counter import QuestionCounter
from actors.shard.shard_counts import Histogram, ShardCounts
from cache_store.gap import Gap, GapReason
from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerFailed, Done, FinishReason, Started, Token
from pipeline.cameras import CameraState
from pipeline.memory_status import MemoryStatus
from tests.actors.shard.shards import FRAMES_SAMPLED, Running, UnreliableStore, status, watch_whole
from tests.actors.waiting import until

RESTORED = MemoryStatus(
    frames_seen=100, frames_dropped=7, compactions=3, newest_s=50.0, gaps=(Gap(10.0, 20.0, GapReason.DROPPED),)
)
DONE = Done(FinishReason.END, "a car", 4, 2, 10.0)


@pytest.fixture
def frames() -> FrameCounter:
    counter = FrameCounter()
    counter.begin("1", RESTORED)
    return counter


def test_what_a_memory_was_restored_with_does_not_count(frames: FrameCounter) -> None:
    frames.add("1", CameraState.LIVE, RESTORED)

    assert (frames.counts().read, sum(frames.counts().dropped.values()), sum(frames.counts().gaps.values())) == (0,) * 3


def test_figures_count_once_however_often_they_are_reported(frames: FrameCounter) -> None:
    later = dataclasses.replace(
        RESTORED, frames_seen=104, tokens_read=30, tokens_skipped=34, ingest_s=2.0, upkeep_s=0.5
    )
    for _ in range(3):
        frames.add("1", CameraState.LIVE, later)

    counts = frames.counts()
    assert (counts.read, counts.tokens_read, counts.tokens_skipped) == (4, 30, 34)
    assert (counts.ingest_s, counts.upkeep_s) == (2.0, 0.5)


def test_dropped_frames_are_counted_for_the_state_that_the_camera_was_in(frames: FrameCounter) -> None:
    frames.add("1", CameraState.LIVE, dataclasses.replace(RESTORED, frames_dropped=9))
    frames.add("1", CameraState.STALLED, dataclasses.replace(RESTORED, frames_dropped=14))

    dropped = frames.counts().dropped
    assert (dropped["live"], dropped["stalled"], dropped["failed"]) == (2, 5, 0)


def test_a_gap_counts_once_it_has_ended(frames: FrameCounter) -> None:
    growing = dataclasses.replace(RESTORED, gaps=(*RESTORED.gaps, Gap(50.0, 55.0, GapReason.DEVICE_FAILED)))
    frames.add("1", CameraState.LIVE, growing)
    assert frames.counts().gaps["device_failed"] == 0

    ended = dataclasses.replace(growing, newest_s=58.0, gaps=(*RESTORED.gaps, Gap(50.0, 58.0, GapReason.DEVICE_FAILED)))
    for _ in range(2):
        frames.add("1", CameraState.LIVE, ended)

    assert frames.counts().gaps["device_failed"] == 1
    assert frames.counts().gap_s["device_failed"] == 8.0


def test_a_reason_of_another_version_makes_no_series_of_its_own(frames: FrameCounter) -> None:
    frames.add("1", CameraState.LIVE, dataclasses.replace(RESTORED, newest_s=70.0, gaps=(Gap(60.0, 70.0, "moths"),)))

    assert frames.counts().gaps["other"] == 1
    assert "moths" not in frames.counts().gaps


def test_an_erased_memory_and_a_camera_that_went_take_nothing_away(frames: FrameCounter) -> None:
    frames.add("1", CameraState.LIVE, dataclasses.replace(RESTORED, frames_seen=110))
    frames.add("1", CameraState.LIVE, MemoryStatus(frames_seen=2, newest_s=90.0))
    frames.end("1")
    frames.add("1", CameraState.LIVE, MemoryStatus(frames_seen=1_000))

    assert frames.counts().read == 12


def test_a_value_is_counted_in_the_bucket_that_it_does_not_exceed() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.1, 0.2, 5.0):
        histogram.observe(value)

    assert histogram.counts().counts == (1, 1, 1)
    assert histogram.counts().total == pytest.approx(5.3)


def test_a_question_waits_runs_and_is_over() -> None:
    times_s = iter((10.0, 10.3, 10.5))
    counter = QuestionCounter(clock=lambda: next(times_s))
    with counter.question() as observe:
        assert (counter.counts().waiting, counter.counts().running) == (1, 0)
        observe(Started("1", "gate", 0.0))
        assert (counter.counts().waiting, counter.counts().running) == (0, 1)
        observe(Token("a", 0))
        observe(Token(" car", 1))
        observe(DONE)

    counts = counter.counts()
    assert (counts.waiting, counts.running) == (0, 0)
    assert counts.wait_s.total == pytest.approx(0.3)
    assert counts.prefill_s.total == pytest.approx(0.2)
    assert sum(counts.prefill_s.counts) == 1


def test_a_question_that_fails_while_it_waits_leaves_no_place_behind() -> None:
    counter = QuestionCounter()
    with pytest.raises(AnswerFailed), counter.question():
        raise AnswerFailed("the camera was removed")

    assert (counter.counts().waiting, counter.counts().running) == (0, 0)
    assert sum(counter.counts().wait_s.counts) == 0


async def test_a_shard_reports_frames_tokens_upkeep_questions_and_checkpoints(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    async with running(every_s=0.1) as shard:
        await watch_whole(shard, "film", film)
        assert [event async for event in shard.ask("film", "what is in view")]

        async def is_saved() -> bool:
            return (await shard.status()).counts.checkpoints["saved"] > 0

        await until(is_saved)
        counts: ShardCounts = (await shard.status()).counts
        memory = (await status(shard, "film")).memory

    frames = counts.frames
    assert frames.read == FRAMES_SAMPLED
    assert frames.tokens_read + frames.tokens_skipped == FRAMES_SAMPLED * model.spec.layout.max_cells
    assert frames.tokens_read == memory.tokens_read
    assert frames.compactions == memory.compactions > 0
    assert 0 < frames.upkeep_s < frames.ingest_s
    assert sum(counts.questions.wait_s.counts) == sum(counts.questions.prefill_s.counts) == 1
    assert counts.restores == {"restored": 0, "new": 0, "empty": 1, "unreadable": 0}
    assert (counts.checkpoints["failed"], counts.checkpoints["fenced"]) == (0, 0)


async def test_a_memory_that_comes_from_the_store_is_a_restore(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
    async with running() as shard:
        await watch_whole(shard, "film", film)
        counts = (await shard.status()).counts

    assert counts.restores["restored"] == 1
    assert counts.frames.read == 0
