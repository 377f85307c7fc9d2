"""The queue of questions: clients have turns, then their cameras, and nobody waits for ever."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.prompts import QuestionPrompt
from pipeline.answers import Caller, Overloaded
from pipeline.device.question_queue import QuestionQueue
from pipeline.device.question_request import QuestionRequest

NUMBERS = itertools.count()


def question(client: str, camera: str = "lobby") -> QuestionRequest:
    return QuestionRequest(
        camera, QuestionPrompt((1,), ()), lambda _: None, 6, submitted_at=float(next(NUMBERS)), caller=Caller(client)
    )


def filled(*clients_and_cameras: str, max_waiting: int = 100) -> QuestionQueue:
    """One question for each pair of a client's letter and a camera's number."""
    queue = QuestionQueue(max_waiting)
    for client, camera in clients_and_cameras:
        queue.put(question(client, camera))
    return queue


def names(requests: list[QuestionRequest]) -> list[str]:
    return [request.caller.client + request.camera for request in requests]


def drain(queue: QuestionQueue, count: int) -> list[QuestionRequest]:
    """All, taken so many at a time."""
    taken: list[QuestionRequest] = []
    while some := queue.first(count):
        queue.take(some)
        taken += some
    return taken


def test_a_client_with_many_questions_delays_another_by_one_turn() -> None:
    assert names(filled("a1", "a1", "a1", "b1").first(10)) == ["a1", "b1", "a1", "a1"]


def test_the_cameras_of_a_client_have_turns() -> None:
    assert names(filled("a1", "a1", "a1", "a2", "b1").first(10)) == ["a1", "b1", "a2", "a1", "a1"]


def test_a_client_that_comes_while_another_has_its_turns_is_next() -> None:
    queue = filled("a1", "a1", "a1")
    queue.take(queue.first(1))
    queue.put(question("b", "1"))
    assert names(queue.first(10)) == ["a1", "b1", "a1"]
    queue.take(queue.first(1))
    assert names(queue.first(10)) == ["b1", "a1"]


def test_what_was_first_is_taken_even_if_another_has_come_meanwhile() -> None:
    queue = filled("a1", "a1")
    due = queue.first(2)
    queue.put(question("b", "1"))
    queue.take(due)
    assert names(queue.first(10)) == ["b1"]


def test_questions_of_one_client_to_one_camera_stay_in_order() -> None:
    requests = [question("a") for _ in range(5)]
    queue = QuestionQueue(5)
    for request in requests:
        queue.put(request)
    assert drain(queue, 2) == requests


def test_a_full_queue_refuses_its_busiest_client() -> None:
    queue = filled("a1", "a2", "a3", max_waiting=3)
    with pytest.raises(Overloaded, match="3 questions wait already"):
        queue.put(question("a", "4"))
    assert names(queue.first(10)) == ["a1", "a2", "a3"]


def test_in_a_full_queue_the_newest_question_of_the_busiest_client_gives_way() -> None:
    queue = filled("a1", "a2", "a3", max_waiting=3)
    queue.put(question("b", "1"))
    assert names(queue.take_displaced()) == ["a3"]
    assert queue.take_displaced() == []
    assert names(queue.first(10)) == ["a1", "b1", "a2"]
    with pytest.raises(Overloaded):
        queue.put(question("b", "2"))


def test_a_cancelled_question_gives_up_its_place() -> None:
    queue = filled("a1", "a2", max_waiting=2)
    queue.first(2)[0].cancel()
    queue.put(question("a", "3"))
    assert names(queue.first(10)) == ["a2", "a3"]


clients = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("12")).map("".join), max_size=20)


@given(clients, st.integers(1, 5))
def test_every_question_is_taken_once(questions: list[str], count: int) -> None:
    assert sorted(names(drain(filled(*questions), count))) == sorted(questions)


@given(clients, st.integers(1, 5))
def test_the_turns_are_the_same_however_many_are_taken_at_once(questions: list[str], count: int) -> None:
    assert names(drain(filled(*questions), count)) == names(drain(filled(*questions), 1))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("12")), max_size=60), st.integers(1, 3))
def test_whoever_else_asks_a_question_waits_for_its_turn_and_no_longer(
    others: list[tuple[str, str]], count: int
) -> None:
    """One new question for each that is taken, of clients that all have some already: four clients, four turns."""
    queue = filled(*["a1", "b1", "c1", "a2", "b2", "c2"])
    mine = question("d")
    queue.put(mine)
    turns = 0
    for client, camera in others:
        due = queue.first(1)
        queue.take(due)
        turns += 1
        if due == [mine]:
            break
        queue.put(question(client, camera))
    assert turns <= 4
