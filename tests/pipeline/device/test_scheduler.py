"""The schedule: questions first, no kind of work starved, no batch over the limit of tokens."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.device.scheduler import Scheduler, Turn, Work

ALL = dict.fromkeys(Work, (1,))
MAX_TOKENS = 100
STEP = (Work.ENCODE, Work.APPEND, Work.COMPACT)  # the parts of a step, which never wait at once
LONGEST_WAIT = {
    Work.PREFILL: 5,
    Work.DECODE: 4,
    Work.COMPACT: 3,
    Work.APPEND: 3,
    Work.ENCODE: 4,
    Work.BACKGROUND: 17,
}  # in turns
LONGEST_STEP = sum(LONGEST_WAIT[part] for part in STEP)

tokens = st.lists(st.integers(1, 150), max_size=8)
rounds = st.lists(st.dictionaries(st.sampled_from(list(Work)), tokens), max_size=80)
floods = st.lists(st.sets(st.sampled_from((Work.PREFILL, Work.DECODE, Work.BACKGROUND))), min_size=1, max_size=80)


def done(scheduler: Scheduler, waiting: dict[Work, tuple[int, ...]], turns: int) -> list[Work]:
    chosen = [scheduler.next_turn(waiting) for _ in range(turns)]
    return [turn.work for turn in chosen if turn is not None]


def turns_until(scheduler: Scheduler, others: dict[Work, tuple[int, ...]], part: Work) -> list[Work]:
    """The turns up to that of one part of a step, while other work waits."""
    work: list[Work] = []
    while not work or work[-1] is not part:
        work += done(scheduler, {**others, part: (64,)}, 1)
    return work


def test_without_waiting_work_there_is_no_turn() -> None:
    assert Scheduler(max_tokens=MAX_TOKENS).next_turn({}) is None
    assert Scheduler(max_tokens=MAX_TOKENS).next_turn({Work.ENCODE: ()}) is None


def test_a_question_comes_before_an_earlier_clip_and_before_the_answers_that_run() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    assert scheduler.next_turn({Work.ENCODE: (64,)}) == Turn(Work.ENCODE, 1)
    waiting = {Work.ENCODE: (64,), Work.DECODE: (1, 1), Work.PREFILL: (20,)}
    assert scheduler.next_turn(waiting) == Turn(Work.PREFILL, 1)


def test_what_waits_runs_together_as_far_as_the_limit_of_tokens_allows() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    assert scheduler.next_turn({Work.PREFILL: (30, 40, 30, 1)}) == Turn(Work.PREFILL, 3)
    assert scheduler.next_turn({Work.DECODE: (1,) * 300}) == Turn(Work.DECODE, MAX_TOKENS)


def test_work_over_the_limit_of_tokens_runs_alone() -> None:
    assert Scheduler(max_tokens=MAX_TOKENS).next_turn({Work.ENCODE: (1_568, 1)}) == Turn(Work.ENCODE, 1)


def test_a_step_of_frames_takes_three_of_seven_turns_under_a_flood_of_questions() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    work = [work for _ in range(10) for part in STEP for work in turns_until(scheduler, {Work.PREFILL: (20,)}, part)]

    assert (work.count(Work.PREFILL), len(work)) == (40, 70)


def test_a_flood_of_questions_does_not_stop_the_answers_that_run() -> None:
    work = done(Scheduler(max_tokens=MAX_TOKENS), {Work.PREFILL: (20,), Work.DECODE: (1,)}, 50)
    assert (work.count(Work.DECODE), work.count(Work.PREFILL)) == (25, 25)


def test_background_work_is_delayed_but_not_starved() -> None:
    work = done(Scheduler(max_tokens=MAX_TOKENS, encode_every=4, background_every=16), ALL, 170)
    assert work.count(Work.BACKGROUND) == 10
    assert work.count(Work.ENCODE) >= 30


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


@given(floods, st.sampled_from(list(Work)), st.sampled_from(STEP))
def test_whatever_else_comes_work_that_waits_gets_its_turn(
    waiting_in_turn: list[set[Work]], patient: Work, part: Work
) -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)
    others = set() if patient in STEP else {part}
    turns = [scheduler.next_turn(dict.fromkeys({*waiting, *others, patient}, (1,))) for waiting in waiting_in_turn]

    its_own = [-1, *(number for number, turn in enumerate(turns) if turn == Turn(patient, 1)), len(turns)]
    assert all(later - before <= LONGEST_WAIT[patient] for before, later in pairwise(its_own))


@given(floods)
def test_no_part_of_a_step_is_put_off_for_ever(waiting_in_turn: list[set[Work]]) -> None:
    """Whatever else comes, steps go on: encoded, appended, compacted, one after the other."""
    scheduler, parts = Scheduler(max_tokens=MAX_TOKENS), 0
    for waiting in waiting_in_turn:
        part = STEP[parts % len(STEP)]
        turn = scheduler.next_turn(dict.fromkeys({*waiting, part}, (1,)))
        assert turn is not None
        parts += turn.work is part

    assert parts // len(STEP) >= len(waiting_in_turn) // LONGEST_STEP


def test_frames_are_read_in_batches_that_a_question_can_wait_for() -> None:
    scheduler = Scheduler(max_tokens=MAX_TOKENS)

    assert scheduler.next_turn({Work.ENCODE: (20,) * 4}, quick_tokens=45) == Turn(Work.ENCODE, 2)
    assert scheduler.next_turn({Work.ENCODE: (20,) * 4}, quick_tokens=5) == Turn(Work.ENCODE, 1)
    assert scheduler.next_turn({Work.ENCODE: (20,) * 4}, quick_tokens=500) == Turn(Work.ENCODE, 4)
    assert scheduler.next_turn({Work.PREFILL: (20,) * 4}, quick_tokens=5) == Turn(Work.PREFILL, 4)


@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 100))
def test_frames_that_pile_up_are_read_in_larger_batches(cameras: int, tokens: int, quick_tokens: int) -> None:
    """A quarter of them at least, as far as whole steps go, and no more than a batch may have."""
    turn = Scheduler(max_tokens=MAX_TOKENS).next_turn({Work.ENCODE: (tokens,) * cameras}, quick_tokens)

    assert turn is not None
    assert turn.count >= min(cameras // 4, MAX_TOKENS // tokens)
    assert turn.count == 1 or turn.count * tokens <= min(MAX_TOKENS, max(quick_tokens, cameras * tokens // 4))
