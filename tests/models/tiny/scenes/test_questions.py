"""Questions and their true answers, on logs small enough to check by reading."""

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.scenes.ground_truth import ANSWER_WORDS, ANSWERS, EventLog, QuestionSubject
from models.tiny.scenes.questions import TEMPLATES, TYPES, YES_NO_TYPES, answer_at, questions_at
from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import COLOURS, KINDS, Path, Visit

# A red car comes and goes, a blue dog comes and stays, another car, green, comes and stays.
RED_CAR = Visit("car", "red", 1.0, 5.0, Path(lane=1))
BLUE_DOG = Visit("dog", "blue", 3.0, 20.0, Path(stop=0.5, lane=0))
GREEN_CAR = Visit("car", "green", 8.0, 20.0, Path(stop=0.2, lane=2))
LOG = [RED_CAR, BLUE_DOG, GREEN_CAR]


@pytest.mark.parametrize(
    ("text", "now_s", "answer"),
    [
        ("what is in view", 0.5, "nothing"),
        ("what is in view", 2.0, "red car"),
        ("what is in view", 4.0, "red car and blue dog"),
        ("What do you see?", 4.0, "red car and blue dog"),
        ("what colour is the car", 4.0, "red"),
        ("what color is the car now?", 12.0, "green"),
        ("what colour is the truck", 4.0, "none"),
        ("where is the dog", 12.0, "middle"),
        ("where is the car", 12.0, "left"),
        ("is there a car", 6.0, "no"),
        ("is there a green car", 12.0, "yes"),
        ("is there a red car", 12.0, "no"),
        ("how many are in view", 12.0, "two"),
        ("what came first", 12.0, "red car"),
        ("what came last", 12.0, "green car"),
        ("what left last", 4.0, "nothing"),
        ("what left last", 12.0, "red car"),
        ("has a red car appeared", 12.0, "yes"),
        ("has a yellow car appeared", 12.0, "no"),
        ("has a truck appeared", 12.0, "no"),
        ("what colour was the last car", 6.0, "red"),
        ("what colour was the last car", 12.0, "green"),
        ("what colour was the last box", 12.0, "none"),
        ("how many cars so far", 12.0, "two"),
        ("how many people so far", 12.0, "zero"),
        ("did the car come before the dog", 12.0, "yes"),
        ("did the dog come before the car", 12.0, "no"),
        ("which came first the dog or the car", 12.0, "car"),
    ],
)
def test_the_log_answers(text: str, now_s: float, answer: str) -> None:
    assert answer_at(text, LOG, now_s) == answer


@pytest.mark.parametrize(
    ("text", "now_s"),
    [
        ("where is the car", 6.0),
        ("did the car come before the truck", 12.0),
        ("what came first", 0.5),
        ("who stole the bike", 12.0),
        ("what is in view please", 12.0),
        ("", 12.0),
    ],
)
def test_a_question_without_a_single_answer_in_the_log_has_none(text: str, now_s: float) -> None:
    assert answer_at(text, LOG, now_s) is None


def test_two_of_a_kind_have_no_single_colour_or_place() -> None:
    log = [Visit("car", "red", 1.0, 9.0), Visit("car", "blue", 2.0, 9.9, Path(lane=2))]

    assert answer_at("what colour is the car", log, 5.0) is None
    assert answer_at("where is the car", log, 5.0) is None
    assert answer_at("how many cars so far", log, 5.0) == "two"


def test_seven_are_too_many_to_count() -> None:
    log = [Visit("dog", "red", float(index), index + 0.5) for index in range(7)]

    assert answer_at("how many dogs so far", log, 5.9) == "six"
    assert answer_at("how many dogs so far", log, 9.0) is None


def test_no_question_near_an_entry_or_exit() -> None:
    rng = random.Random(0)

    for visit in LOG:
        for moment in (visit.enter_s - 0.2, visit.enter_s + 0.2, visit.leave_s - 0.2, visit.leave_s + 0.2):
            assert questions_at(LOG, moment, rng) == []
    assert questions_at(LOG, 12.0, rng)


def test_the_order_of_nearly_simultaneous_events_is_not_asked() -> None:
    log = [Visit("car", "red", 1.0, 9.0), Visit("dog", "blue", 1.2, 9.9, Path(lane=0))]

    types = {question.type for seed in range(20) for question in questions_at(log, 5.0, random.Random(seed))}

    assert types.isdisjoint({"first", "last_in", "before", "which_first", "in_view"})


def test_where_is_not_asked_near_the_thirds() -> None:
    log = [Visit("dog", "blue", 1.0, 20.0, Path(stop=0.34, lane=0))]

    types = {question.type for seed in range(20) for question in questions_at(log, 5.0, random.Random(seed))}

    assert "where" not in types


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), now_s=st.floats(0, 60), gap_s=st.floats(0.5, 8))
def test_every_question_has_the_answer_the_log_gives(seed: int, now_s: float, gap_s: float) -> None:
    visits = Scene(seed, mean_gap_s=gap_s).visits(now_s + 1)

    for question in questions_at(visits, now_s, random.Random(seed), has_paraphrases=True):
        assert question.type in TYPES
        assert answer_at(question.text, visits, now_s) == question.answer
        assert set(question.answer.split()) <= {*ANSWER_WORDS, *KINDS, *COLOURS}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), now_s=st.floats(0, 60))
def test_evidence_is_in_the_past(seed: int, now_s: float) -> None:
    visits = Scene(seed, mean_gap_s=2).visits(now_s + 1)

    for question in questions_at(visits, now_s, random.Random(seed)):
        if question.answer in ("no", "none", "nothing") or question.type.startswith("count"):
            assert not question.evidence
        else:
            assert question.evidence
            assert all(0 <= start_s < end_s <= now_s for start_s, end_s in question.evidence)


def test_the_evidence_of_a_comparison_is_both_visits_and_that_of_a_yes_any() -> None:
    dog, car, other = (Visit(kind, "red", at_s, at_s + 3) for kind, at_s in (("dog", 5), ("car", 15), ("dog", 25)))
    log = EventLog((dog, car, other), 40.0)

    which = ANSWERS["which_first"](QuestionSubject("which_first", "car", other="dog"), log, 0.6)
    appeared = ANSWERS["appeared"](QuestionSubject("appeared", "dog"), log, 0.6)

    assert which is not None
    assert appeared is not None
    assert which.evidence == (car.visible_s, dog.visible_s)
    assert appeared.evidence == (dog.visible_s, other.visible_s)


def test_every_type_occurs_and_no_constant_answer_scores_well() -> None:
    rng, answers = random.Random(7), defaultdict[str, Counter[str]](Counter)
    for seed in range(120):
        scene = Scene(seed, mean_gap_s=rng.uniform(1.5, 6))
        for now_s in (rng.uniform(2, 12), rng.uniform(12, 30)):
            for question in questions_at(scene.visits(now_s + 1), now_s, rng):
                answers[question.type][question.answer] += 1

    assert set(answers) == set(TYPES)
    for type_, counts in answers.items():
        limit = 0.62 if type_ in YES_NO_TYPES else 0.6
        assert max(counts.values()) / counts.total() < limit, (type_, counts)


def test_wordings_are_plain_lower_case() -> None:
    for texts in TEMPLATES.values():
        for text in texts:
            assert text == text.lower().strip()
            assert not set(text) & set(".,?!'")
