"""A step of frames is up to three jobs: a question waits for one of them, and a camera may change between two."""

from __future__ import annotations

import dataclasses

import pytest

from cache_store.gap import Gap
from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerEvent, QuestionError, Token
from pipeline.device.scheduler import Work
from pipeline.sources.clips import Clip
from tests.pipeline.device.engine_driver import CONFIG, MEMORY, clip
from tests.pipeline.device.faults import Fault, failing
from tests.pipeline.device.stepped_engine import SteppedEngine

PARTS = [Work.ENCODE, Work.APPEND, Work.COMPACT]
NUM_CLIPS = 3  # so many leave room for as much again


@pytest.fixture
def engine(model: LlavaOnevision) -> SteppedEngine:
    """A camera whose next step leaves no room for another one."""
    engine = SteppedEngine(model, MEMORY, CONFIG)
    engine.add_camera("lobby")
    for number in range(NUM_CLIPS):
        put(engine, number)
        assert work_to_do(engine) == PARTS[:2]
    return engine


def put(engine: SteppedEngine, number: int) -> None:
    engine.clips.put(clip("lobby", 1_000.0 + 2 * number, seed=number))


def next_work(engine: SteppedEngine) -> Work | None:
    waiting = engine.jobs.waiting()
    works = [part for part in PARTS if waiting.get(part)]
    return works[0] if works else None


def work_to_do(engine: SteppedEngine) -> list[Work]:
    """Does all of it."""
    works = []
    while (work := next_work(engine)) is not None:
        works.append(work)
        assert engine.thread.run_next()
    return works


def run_up_to(engine: SteppedEngine, part: Work) -> None:
    """Leaves that part as the next job."""
    while next_work(engine) is not part:
        assert engine.thread.run_next()


def test_a_step_that_leaves_no_room_is_three_jobs(engine: SteppedEngine) -> None:
    put(engine, NUM_CLIPS)

    assert work_to_do(engine) == PARTS
    status = engine.status("lobby")
    assert (status.frames_seen, status.compactions) == (4 * (NUM_CLIPS + 1), 1)
    assert not engine.thread.run_next()


@pytest.mark.parametrize("part", PARTS)
def test_a_question_waits_for_one_part_of_a_step(engine: SteppedEngine, part: Work) -> None:
    put(engine, NUM_CLIPS)
    run_up_to(engine, part)
    engine.thread.run_next()
    put(engine, NUM_CLIPS + 1)

    events: list[AnswerEvent | QuestionError] = []
    engine.ask("lobby", "what is in view", events.append)
    engine.thread.run_next()

    assert Token in map(type, events)


@pytest.mark.parametrize("part", PARTS[1:])
def test_frames_of_a_camera_that_is_erased_between_two_parts_are_gone(engine: SteppedEngine, part: Work) -> None:
    put(engine, NUM_CLIPS)
    run_up_to(engine, part)

    engine.erase_camera("lobby", Gap(1_000.0, 1_006.0, "erased"))
    while engine.thread.run_next():
        pass

    status = engine.status("lobby")
    assert (status.frames_seen, status.summary_tier_tokens, status.recent_window_tokens) == (0, 0, 0)
    assert engine.reports == []
    put(engine, NUM_CLIPS + 1)
    assert work_to_do(engine) == PARTS[:2]


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_camera_that_comes_back_between_two_parts_gets_no_frames_of_its_former_stay(
    engine: SteppedEngine, part: Work
) -> None:
    put(engine, NUM_CLIPS)
    run_up_to(engine, part)
    saved = engine.snapshot("lobby", is_whole=True).result(0)

    engine.remove_camera("lobby")
    engine.add_camera("lobby", saved)
    while engine.thread.run_next():
        pass

    newest_s = 1_001.5 + 2 * (NUM_CLIPS if part is Work.COMPACT else NUM_CLIPS - 1)
    assert engine.status("lobby").newest_s == saved.facts.newest_s == newest_s
    assert engine.reports == []


def test_frames_that_are_held_back_before_they_are_appended_wait_with_the_others(engine: SteppedEngine) -> None:
    """They came into the memory after a whole snapshot for the next owner, so answers here were newer than that."""
    put(engine, NUM_CLIPS)
    run_up_to(engine, Work.APPEND)
    engine.clips.hold_back("lobby")
    saved = engine.snapshot("lobby", is_whole=True).result(0)

    assert not engine.thread.run_next()
    assert engine.status("lobby").newest_s == saved.facts.newest_s
    engine.clips.release("lobby")

    assert work_to_do(engine) == PARTS
    status = engine.status("lobby")
    assert (status.newest_s, status.frames_dropped) == (1_001.5 + 2 * NUM_CLIPS, 0)
    assert (status.gaps, engine.reports) == ((), [])


def still_clip(first_s: float, seed: int) -> Clip:
    """Four times the same frame."""
    moving = clip("lobby", first_s, seed=seed)
    return dataclasses.replace(moving, frames=moving.frames[[0] * 4])


def test_frames_that_are_discarded_before_they_are_appended_do_not_come_into_the_memory(model: LlavaOnevision) -> None:
    """Those with other privacy masks than the camera has now. The same scene is read again: the gate had taken it."""
    engine = SteppedEngine(model, MEMORY, CONFIG)
    engine.add_camera("lobby", is_gated=True)
    for number, seed in enumerate((1, 1, 1, 2)):
        engine.clips.put(still_clip(1_000.0 + 2 * number, seed))
        if seed == 1:
            work_to_do(engine)
    before = engine.status("lobby")
    run_up_to(engine, Work.APPEND)

    engine.clips.discard("lobby")
    assert not engine.thread.run_next()

    after = engine.status("lobby")
    assert (after.frames_seen, after.tokens_read) == (before.frames_seen, before.tokens_read)
    assert (before.frames_dropped, after.frames_dropped) == (0, 4)
    assert engine.reports == []
    engine.clips.put(still_clip(1_008.0, seed=2))
    work_to_do(engine)
    assert engine.status("lobby").tokens_read >= before.tokens_read + 16


def test_frames_that_are_discarded_while_they_are_encoded_are_counted_once_though_that_fails(
    engine: SteppedEngine,
) -> None:
    put(engine, NUM_CLIPS)
    job = engine.jobs.next_job()
    assert job is not None
    engine.clips.discard("lobby")
    job.fail(RuntimeError("out of memory"))

    after = engine.status("lobby")
    assert (after.frames_dropped, after.gaps) == (4, ())


def test_frames_that_were_lost_are_counted_once_though_they_are_discarded_then(engine: SteppedEngine) -> None:
    put(engine, NUM_CLIPS)
    with failing(Fault("out of memory", 0)):
        assert engine.thread.run_next()
    assert engine.status("lobby").frames_dropped == 4

    engine.clips.discard("lobby")

    assert engine.clips.dropped_frames("lobby") == 4
