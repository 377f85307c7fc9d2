"""Whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.device.scheduler import Scheduler, Turn

EVERYTHING = set(Turn)


def turns(schedule: Scheduler, waiting: set[Turn], count: int) -> list[Turn | None]:
    return [schedule.next_turn(waiting) for _ in range(count)]


def test_nothing_waits_nothing_is_done() -> None:
    assert Scheduler().next_turn(set()) is None


def test_a_question_goes_before_a_clip_that_came_first() -> None:
    schedule = Scheduler()
    assert schedule.next_turn({Turn.INGEST}) is Turn.INGEST
    assert schedule.next_turn({Turn.INGEST, Turn.QUESTION}) is Turn.QUESTION


def test_a_flood_of_questions_cannot_blind_the_cameras() -> None:
    done = turns(Scheduler(ingest_every=4), {Turn.QUESTION, Turn.INGEST}, 50)
    assert done.count(Turn.INGEST) == 10
    assert done.count(Turn.QUESTION) == 40


def test_background_work_is_put_off_but_never_starved() -> None:
    done = turns(Scheduler(ingest_every=4, background_every=16), EVERYTHING, 170)
    assert done.count(Turn.BACKGROUND) == 10
    assert done.count(Turn.INGEST) >= 30


@given(st.lists(st.sets(st.sampled_from(list(Turn))), max_size=60))
def test_a_turn_goes_only_to_what_waits_and_never_idles(rounds: list[set[Turn]]) -> None:
    schedule = Scheduler()
    for waiting in rounds:
        chosen = schedule.next_turn(waiting)
        assert (chosen in waiting) if waiting else (chosen is None)
