"""Questions in batches: the same answers as alone, whatever runs beside them and whatever of that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_store.memory import Memory
from models.answer_decoder import Answer, NextToken
from models.llava_onevision import LlavaOnevision
from pipeline.answers import (
    AnswerEvent,
    AnswerFailed,
    Caller,
    Done,
    Overloaded,
    QuestionError,
    QuestionExpired,
    Started,
    Token,
    UnknownCamera,
)
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.scheduler import Work
from tests.pipeline.device.faults import Faults
from tests.pipeline.device.question_batches import TEXTS, Question, Questioning, alone, cameras_of

CAMERAS = ("lobby", "gate")


@pytest.fixture(scope="module")
def cameras(model: LlavaOnevision) -> dict[str, CameraMemory]:
    return cameras_of(model, *CAMERAS)


@pytest.fixture(params=[False, True], ids=["ordinary steps", "fixed steps"])
def has_fixed_steps(request: pytest.FixtureRequest) -> bool:
    """Whether decode steps are those that CUDA graphs replay."""
    return bool(request.param)


@pytest.fixture(scope="module")
def outcome_alone(model: LlavaOnevision, cameras: dict[str, CameraMemory]) -> Callable[[Question], object]:
    """Each kind of question is asked alone once."""
    known: dict[tuple[str, str, int], object] = {}

    def find(question: Question) -> object:
        key = (question.camera, question.text, question.max_tokens)
        if key not in known:
            known[key] = alone(model, cameras, Question(*key[:2], max_tokens=key[2]))
        return known[key]

    return find


questions = st.lists(
    st.builds(
        Question,
        camera=st.sampled_from(CAMERAS),
        text=st.sampled_from(TEXTS),
        after=st.integers(0, 8),
        max_tokens=st.integers(1, 6),
        caller=st.sampled_from([Caller("a"), Caller("b")]),
    ),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(questions, st.integers(1, 4), st.integers(1, 2), st.integers(1, 60), st.booleans())
@settings(max_examples=40)
def test_an_answer_is_the_same_in_any_company(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    asked: list[Question],
    slots: int,
    copies: int,
    max_tokens: int,
    has_fixed_steps: bool,
) -> None:
    """Any mix of questions, times of arrival, slots, copies, limits of tokens and kinds of decode steps."""
    questioning = Questioning(
        model, cameras, slots=slots, copies=copies, max_tokens=max_tokens, has_fixed_steps=has_fixed_steps
    )
    questioning.run(asked)
    assert questioning.outcomes() == {question: outcome_alone(question) for question in asked}


def test_questions_of_unequal_length_are_one_pass_and_so_are_their_answers(
    model: LlavaOnevision, cameras: dict[str, CameraMemory]
) -> None:
    questioning = Questioning(model, cameras, slots=4)
    questioning.run([Question("lobby", text) for text in TEXTS])
    assert questioning.jobs_done == 6


def test_the_memories_are_not_changed(model: LlavaOnevision, cameras: dict[str, CameraMemory]) -> None:
    before = [[tensor.clone() for tensor in _tensors(camera.memory)] for camera in cameras.values()]
    Questioning(model, cameras, slots=2).run([Question(camera, text) for camera in CAMERAS for text in TEXTS])
    for camera, tensors in zip(cameras.values(), before, strict=True):
        assert all(torch.equal(was, now) for was, now in zip(tensors, _tensors(camera.memory), strict=True))


def _tensors(memory: Memory) -> list[torch.Tensor]:
    return [tensor for layer in range(memory.num_layers) for _, _, tensor in memory.layer(layer).tensors()]


COMPANY = [Question("lobby", TEXTS[1]), Question("gate", TEXTS[2]), Question("gate", TEXTS[0])]
VICTIM = Question("lobby", TEXTS[0], caller=Caller("victim"))


def expect_company(questioning: Questioning, outcome_alone: Callable[[Question], object], end: type) -> None:
    """The victim ended as told, everybody else has the usual answer, and every slot is free."""
    outcomes = questioning.outcomes()
    assert outcomes.pop(VICTIM) is end
    assert outcomes == {question: outcome_alone(question) for question in COMPANY}
    questioning.events.clear()
    questioning.run([Question("lobby", TEXTS[3]), Question("gate", TEXTS[3], max_tokens=5), *COMPANY])
    assert questioning.outcomes()[COMPANY[0]] == outcome_alone(COMPANY[0])


def is_victims(answer: Answer, model: LlavaOnevision, cameras: dict[str, CameraMemory]) -> bool:
    prompt = model.prompts.question(VICTIM.text)
    camera = cameras[VICTIM.camera].memory
    return answer.question.ids == prompt.ids and len(answer.cached_tokens(0)) == len(camera.after_prefix(0))


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), ValueError("odd")])
def test_a_pass_that_fails_because_of_one_question_ends_that_one(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    after: int,
    error: Exception,
    has_fixed_steps: bool,
) -> None:
    """In its prefill and in the middle of its answer."""
    questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
    next_tokens = questioning.decoder.next_tokens

    def failing(answers: Sequence[Answer]) -> list[NextToken]:
        tokens = next_tokens(answers)  # what it wrote behind the valid tokens stays there
        if any(is_victims(answer, model, cameras) and len(answer.ids) == after for answer in answers):
            raise error
        return tokens

    questioning.decoder.next_tokens = failing  # type: ignore[method-assign]
    questioning.run([*COMPANY, VICTIM])

    failure = questioning.events[VICTIM][-1]
    started = questioning.events[VICTIM][0]
    assert isinstance(started, Started)
    assert str(failure) == (f"answer {started.answer_id} on camera 'lobby': the device failed: {type(error).__name__}")
    questioning.decoder.next_tokens = next_tokens  # type: ignore[method-assign]
    expect_company(questioning, outcome_alone, AnswerFailed)


def test_a_pass_that_fails_once_fails_no_question(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    has_fixed_steps: bool,
) -> None:
    """Out of memory with all of them, and not with each."""
    questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
    next_tokens = questioning.decoder.next_tokens

    def failing(answers: Sequence[Answer]) -> list[NextToken]:
        tokens = next_tokens(answers)
        if len(answers) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tokens

    questioning.decoder.next_tokens = failing  # type: ignore[method-assign]
    questioning.run([*COMPANY, VICTIM])

    assert questioning.outcomes() == {question: outcome_alone(question) for question in [*COMPANY, VICTIM]}


@given(
    place=st.floats(0, 1, exclude_max=True),
    error=st.sampled_from([torch.OutOfMemoryError, MemoryError, ValueError]),
    has_fixed_steps=st.booleans(),
)
@settings(max_examples=20)
def test_a_fault_at_any_point_of_the_batches_ends_one_question_at_most(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    num_operations: dict[bool, int],
    place: float,
    error: type[Exception],
    has_fixed_steps: bool,
) -> None:
    """One allocation of them all fails, once: in a copy, in a pass, or where a token becomes part of an answer."""
    questioning, faults = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps), Faults()
    with faults:
        faults.fail_after(int(place * num_operations[has_fixed_steps]), error("CUDA out of memory"))
        questioning.run([*COMPANY, VICTIM])

    assert faults.disarm()
    outcomes = questioning.outcomes()
    ended = [question for question, outcome in outcomes.items() if outcome is AnswerFailed]
    assert len(ended) <= 1
    usual = {question: outcome_alone(question) for question in outcomes}
    assert outcomes == usual | dict.fromkeys(ended, AnswerFailed)


@pytest.fixture(scope="module")
def num_operations(model: LlavaOnevision, cameras: dict[str, CameraMemory]) -> dict[bool, int]:
    """How many allocations four answers take, by whether their decode steps are of fixed shapes."""
    numbers = {}
    for has_fixed_steps in (False, True):
        questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
        with Faults() as faults:
            questioning.run([*COMPANY, VICTIM])
        numbers[has_fixed_steps] = faults.num_operations
    return numbers


def test_a_question_that_gave_way_in_a_full_queue_hears_so(
    model: LlavaOnevision, cameras: dict[str, CameraMemory]
) -> None:
    questioning = Questioning(model, cameras, slots=1)
    crowd = [Question("lobby", max_tokens=1, after=-number, caller=Caller("crowd")) for number in range(64)]
    for question in [*crowd, VICTIM]:
        questioning.ask(question)
    questioning.run([])

    assert [question for question in crowd if questioning.outcomes()[question] is Overloaded] == [crowd[-1]]
    assert isinstance(questioning.events[VICTIM][-1], Done)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_end_their_own_answer(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    number: float,
    has_fixed_steps: bool,
) -> None:
    """A damaged value of its own question; what it poisons is overwritten when its slot is used again."""
    questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
    next_tokens = questioning.decoder.next_tokens

    def damaging(answers: Sequence[Answer]) -> list[NextToken]:
        for answer in answers:
            if is_victims(answer, model, cameras) and len(answer.ids) == 2:
                answer.memory.values(0)[:, 1] = number
        return next_tokens(answers)

    questioning.decoder.next_tokens = damaging  # type: ignore[method-assign]
    questioning.run([*COMPANY, VICTIM])

    assert str(questioning.events[VICTIM][-1]).endswith("the device failed: NotFinite")
    questioning.decoder.next_tokens = next_tokens  # type: ignore[method-assign]
    expect_company(questioning, outcome_alone, AnswerFailed)


class FullModel:
    """The model itself, which may have no room for its last tensor."""

    def __init__(self, model: LlavaOnevision) -> None:
        self._model = model
        self.has_room = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.has_room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._model.logits(hidden)


@pytest.mark.parametrize("has_room", [True, False])
def test_numbers_that_are_none_are_read_by_no_later_answer(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    has_room: bool,
    has_fixed_steps: bool,
) -> None:
    """A shorter one in the same slot, beside a longer one: a mask hides no such number, and both are read at once."""
    full = FullModel(model)
    questioning = Questioning(full, cameras, slots=2, has_fixed_steps=has_fixed_steps)
    next_tokens = questioning.decoder.next_tokens

    def damaging(answers: Sequence[Answer]) -> list[NextToken]:
        (answer,) = answers
        newest = answer.memory.values(0)[:, -1]
        whole = newest.clone()
        if answer.ids:
            newest.fill_(float("nan"))
        full.has_room = has_room or not answer.ids
        try:
            return next_tokens(answers)
        finally:
            full.has_room = True
            newest.copy_(whole)

    questioning.decoder.next_tokens = damaging  # type: ignore[method-assign]
    questioning.run([Question("lobby", TEXTS[3])])
    assert [*questioning.outcomes().values()] == [AnswerFailed]

    questioning.decoder.next_tokens = next_tokens  # type: ignore[method-assign]
    questioning.events.clear()
    pair = [Question("lobby", TEXTS[0]), Question("gate", TEXTS[3])]
    questioning.run(pair)
    assert questioning.outcomes() == {question: outcome_alone(question) for question in pair}


@pytest.mark.parametrize("kind", [Started, Token, Done])
def test_a_listener_that_raises_ends_its_own_answer(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    kind: type[AnswerEvent],
    has_fixed_steps: bool,
) -> None:
    questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
    events: list[AnswerEvent | QuestionError] = []
    questioning.events[VICTIM] = events

    def listen(event: AnswerEvent | QuestionError) -> None:
        if isinstance(event, kind):
            raise RuntimeError("Event loop is closed")
        events.append(event)

    questioning.runner.add(VICTIM.camera, VICTIM.text, listen)
    questioning.run(COMPANY)

    expect_company(questioning, outcome_alone, AnswerFailed)


def test_a_client_that_cancels_frees_its_slot_and_hears_no_more(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    has_fixed_steps: bool,
) -> None:
    questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
    events: list[AnswerEvent | QuestionError] = []
    request = questioning.runner.add(VICTIM.camera, VICTIM.text, events.append)
    for question in COMPANY:
        questioning.ask(question)
    for _ in range(3):
        job = questioning.next_job()
        assert job is not None
        job.run()
    request.cancel()
    questioning.run([])

    assert [type(event) for event in events] == [Started, Token, Token, Token]
    assert questioning.outcomes() == {question: outcome_alone(question) for question in COMPANY}


@pytest.mark.parametrize("jobs_before", [0, 1, 3])
def test_a_turn_whose_clients_have_all_cancelled_makes_no_pass_and_no_report(
    model: LlavaOnevision, cameras: dict[str, CameraMemory], jobs_before: int
) -> None:
    """Neither is how long a prefill takes learnt from it."""
    questioning = Questioning(model, cameras, slots=2)
    requests = [questioning.runner.add("lobby", text, lambda _: None) for text in TEXTS[:2]]
    for _ in range(jobs_before):
        job = questioning.next_job()
        assert job is not None
        job.run()
    questioning.runner.prefill_s = 5.0
    job = questioning.next_job()
    for request in requests:
        request.cancel()
    assert job is not None
    job.run()
    questioning.run([])

    assert questioning.reports == []
    assert questioning.runner.prefill_s == 5.0


def test_a_question_to_a_camera_that_left_in_the_middle_of_a_turn_is_ended_in_the_next(
    model: LlavaOnevision, cameras: dict[str, CameraMemory]
) -> None:
    questioning = Questioning(model, cameras, slots=2)
    late = Question("gone")

    questioning.runner.end_unanswerable(cameras)
    questioning.ask(late)
    waiting = questioning.runner.waiting(cameras)
    questioning.runner.end_unanswerable(cameras)

    assert waiting == {Work.PREFILL: [], Work.DECODE: []}
    assert questioning.outcomes() == {late: UnknownCamera}


def test_a_deadline_ends_an_answer_in_its_middle(
    model: LlavaOnevision,
    cameras: dict[str, CameraMemory],
    outcome_alone: Callable[[Question], object],
    has_fixed_steps: bool,
) -> None:
    """A job takes a second: three of them, two seconds of patience and the first one at once."""
    questioning = Questioning(model, cameras, slots=4, has_fixed_steps=has_fixed_steps)
    victim = Question(VICTIM.camera, VICTIM.text, caller=Caller("victim", 3.0))
    questioning.run([victim, *COMPANY])

    assert [type(event) for event in questioning.events[victim]] == [Started, Token, Token, Token, QuestionExpired]
    assert str(questioning.events[victim][-1]) == "question to camera 'lobby': not answered within 3 s (its deadline)"
    outcomes = questioning.outcomes()
    assert outcomes == {victim: QuestionExpired} | {question: outcome_alone(question) for question in COMPANY}


def test_a_question_that_expires_while_it_waits_costs_no_pass(
    model: LlavaOnevision, cameras: dict[str, CameraMemory], outcome_alone: Callable[[Question], object]
) -> None:
    questioning = Questioning(model, cameras, slots=1)
    patient = Question("gate", TEXTS[1])
    hasty = Question("lobby", caller=Caller("", 0.001))
    questioning.run([patient, hasty])

    assert [type(event) for event in questioning.events[hasty]] == [QuestionExpired]
    assert questioning.outcomes()[patient] == outcome_alone(patient)
    assert questioning.jobs_done == 6


def test_a_question_without_any_time_left_is_refused_at_once(
    model: LlavaOnevision, cameras: dict[str, CameraMemory]
) -> None:
    questioning = Questioning(model, cameras, slots=1)
    with pytest.raises(QuestionExpired, match="'lobby': not answered within 0 s"):
        questioning.ask(Question("lobby", caller=Caller("", 0.0)))
    assert questioning.next_job() is None
