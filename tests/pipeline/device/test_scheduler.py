"""The schedule: questions first, no kind of work starved, no batch over the limit of tokens."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.device.scheduler import Scheduler, Turn, Work

ALL = dict.fromkeys(Work, (1,))
MAX_TOKENS = 100
LONGEST_WAIT = {Work.PREFILL: 6, Work.DECODE: 4, Work.INGEST: 6, Work.BACKGROUND: 17}  # in turns

tokens = st.lists(st.integers(1, 150), max_size=8)
rounds = st.lists(st.dictionaries(st.sampled_from(list(Work)), tokens), max_size=80)


def done(scheduler: Scheduler, waiting: dict[Work, tuple[int, ...]], turns: int) -> list[Work]:
    chosen = [scheduler.next_turn(waiting) for _ in range(turns)]
    return [turn.work for turn in chosen if turn is not None]


def test_without_waiting_work_there_is_no_turn() -> None:
    assert Scheduler(max_tokens=MAX_TOKENS).next_turn({}) is None
    assert Scheduler(max_tokens=MAX_TOKENS).next_turn({Work.INGEST: ()}) is None


def test_a_question_comes_before_an_earlier_clip_and_before_the_answers_that_run() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    assert scheduler.next_turn({Work.INGEST: (64,)}) == Turn(Work.INGEST, 1)
    waiting = {Work.INGEST: (64,), Work.DECODE: (1, 1), Work.PREFILL: (20,)}
    assert scheduler.next_turn(waiting) == Turn(Work.PREFILL, 1)


def test_what_waits_runs_together_as_far_as_the_limit_of_tokens_allows() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    assert scheduler.next_turn({Work.PREFILL: (30, 40, 30, 1)}) == Turn(Work.PREFILL, 3)
    assert scheduler.next_turn({Work.DECODE: (1,) * 300}) == Turn(Work.DECODE, MAX_TOKENS)


def test_work_over_the_limit_of_tokens_runs_alone() -> None:
    assert Scheduler(max_tokens=MAX_TOKENS).next_turn({Work.INGEST: (1_568, 1)}) == Turn(Work.INGEST, 1)


def test_ingest_gets_every_fifth_turn_under_a_flood_of_questions() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS, ingest_every=4)
    work = done(scheduler, {Work.PREFILL: (20,), Work.INGEST: (64,)}, 50)
    assert (work.count(Work.INGEST), work.count(Work.PREFILL)) == (10, 40)


def test_a_flood_of_questions_does_not_stop_the_answers_that_run() -> None:
    work = done(Scheduler(max_tokens=MAX_TOKENS), {Work.PREFILL: (20,), Work.DECODE: (1,)}, 50)
    assert (work.count(Work.DECODE), work.count(Work.PREFILL)) == (25, 25)


def test_background_work_is_delayed_but_not_starved() -> None:
    work = done(Scheduler(max_tokens=MAX_TOKENS, ingest_every=4, background_every=16), ALL, 170)
    assert work.count(Work.BACKGROUND) == 10
    assert work.count(Work.INGEST) >= 30


@given(rounds)
def test_each_turn_is_of_waiting_work_and_within_the_limit_of_tokens(
    waiting_in_turn: list[dict[Work, list[int]]],
) -> None:
    """As much as fits, in order: the next piece would be too much."""
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    for waiting in waiting_in_turn:
        turn = scheduler.next_turn(waiting)
        if turn is None:
            assert not any(waiting.values())
            continue
        pieces = waiting[turn.work]
        assert 1 <= turn.count <= len(pieces)
        assert turn.count == 1 or sum(pieces[: turn.count]) <= MAX_TOKENS
        assert turn.count == len(pieces) or sum(pieces[: turn.count + 1]) > MAX_TOKENS


@given(rounds, st.sampled_from(list(Work)))
def test_whatever_else_comes_work_that_waits_gets_its_turn(
    waiting_in_turn: list[dict[Work, list[int]]], patient: Work
) -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    turns = [scheduler.next_turn({**waiting, patient: (1,)}) for waiting in waiting_in_turn]

    its_own = [-1, *(number for number, turn in enumerate(turns) if turn == Turn(patient, 1)), len(turns)]
    assert all(later - before <= LONGEST_WAIT[patient] for before, later in pairwise(its_own))


def test_frames_are_read_in_batches_that_a_question_can_wait_for() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)

    assert scheduler.next_turn({Work.INGEST: (20,) * 4}, quick_tokens=45) == Turn(Work.INGEST, 2)
    assert scheduler.next_turn({Work.INGEST: (20,) * 4}, quick_tokens=5) == Turn(Work.INGEST, 1)
    assert scheduler.next_turn({Work.INGEST: (20,) * 4}, quick_tokens=500) == Turn(Work.INGEST, 4)
    assert scheduler.next_turn({Work.PREFILL: (20,) * 4}, quick_tokens=5) == Turn(Work.PREFILL, 4)


@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 100))
def test_frames_that_pile_up_are_read_in_larger_batches(cameras: int, tokens: int, quick_tokens: int) -> None:
    """A quarter of them at least, as far as whole steps go, and no more than a batch may have."""
    turn = Scheduler(max_tokens=MAX_TOKENS).next_turn({Work.INGEST: (tokens,) * cameras}, quick_tokens)

    assert turn is not None
    assert turn.count >= min(cameras // 4, MAX_TOKENS // tokens)
    assert turn.count == 1 or turn.count * tokens <= min(MAX_TOKENS, max(quick_tokens, cameras * tokens // 4))
