"""Which kind of work the device does next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.device.scheduler import Scheduler, Turn

ALL_KINDS = set(Turn)


def turns(scheduler: Scheduler, waiting: set[Turn], count: int) -> list[Turn | None]:
    return [scheduler.next_turn(waiting) for _ in range(count)]


def test_without_waiting_work_there_is_no_turn() -> None:
    assert Scheduler().next_turn(set()) is None


def test_a_question_comes_before_an_earlier_clip() -> None:
    scheduler = Scheduler()
    assert scheduler.next_turn({Turn.INGEST}) is Turn.INGEST
    assert scheduler.next_turn({Turn.INGEST, Turn.QUESTION}) is Turn.QUESTION


def test_ingest_gets_every_fifth_turn_under_a_flood_of_questions() -> None:
    done = turns(Scheduler(ingest_every=4), {Turn.QUESTION, Turn.INGEST}, 50)
    assert done.count(Turn.INGEST) == 10
    assert done.count(Turn.QUESTION) == 40


def test_background_work_is_delayed_but_not_starved() -> None:
    done = turns(Scheduler(ingest_every=4, background_every=16), ALL_KINDS, 170)
    assert done.count(Turn.BACKGROUND) == 10
    assert done.count(Turn.INGEST) >= 30


@given(st.lists(st.sets(st.sampled_from(list(Turn))), max_size=60))
def test_each_turn_goes_to_waiting_work_if_there_is_any(rounds: list[set[Turn]]) -> None:
    scheduler = Scheduler()
    for waiting in rounds:
        chosen = scheduler.next_turn(waiting)
        assert (chosen in waiting) if waiting else (chosen is None)
