"""The demo asks questions worth asking, and their truth does not depend on a fraction of a second."""

from __future__ import annotations

import pytest

from console.demo import cameras, questions
from console.demo.questions import FIRST_TYPE, PAST_TYPES, PRESENT_TYPES, DemoQuestion, QuestionPicker
from models.tiny.scenes.questions import TYPES
from models.tiny.scenes.scene import Scene

IN_VIEW = DemoQuestion(FIRST_TYPE, "what is in view")
Asked = tuple[Scene, DemoQuestion, float]


def pick_eight(seed: int) -> list[Asked]:
    """As the demo does: four questions about the present, then four about the past."""
    shown = cameras.demo_cameras(seed)
    scenes = [camera.scene() for camera in shown]
    picker = QuestionPicker(seed)
    picked: list[Asked] = []
    for number in range(240):
        scene, now_s = scenes[number % 4], 20.0 + number / 2
        types = PRESENT_TYPES if len(picked) < 4 else PAST_TYPES
        question = picker.pick(scene, now_s, types, tolerance=number // 10)
        if question is not None:
            picked.append((scene, question, now_s))
        if len(picked) == 8:
            break
    return picked


@pytest.mark.parametrize("seed", range(12))
def test_eight_questions_of_several_types_half_of_them_about_the_past(seed: int) -> None:
    picked = [question for _, question, _ in pick_eight(seed)]

    assert len({question.type for question in picked}) >= 5
    assert [question.is_about_the_past for question in picked] == [False] * 4 + [True] * 4


@pytest.mark.parametrize("seed", range(12))
def test_the_truth_is_the_same_a_moment_before_and_after(seed: int) -> None:
    for scene, question, now_s in pick_eight(seed):
        first = -1.5 if question.type == FIRST_TYPE else -3.0
        moments = [now_s + first + step / 4 for step in range(int(-4 * first) + 7)]
        truths = {questions.truth(scene, question, moment) for moment in moments}
        assert len(truths) == 1
        assert truths != {None}


@pytest.mark.parametrize("seed", range(12))
def test_a_camera_has_something_in_view_when_it_starts(seed: int) -> None:
    """So the demo's first question needs no wait."""
    for camera in cameras.demo_cameras(seed):
        assert questions.truth(camera.scene(), IN_VIEW, camera.first_s) != "nothing"


@pytest.mark.parametrize("seed", range(12))
def test_some_camera_can_be_asked_what_is_in_view_within_three_seconds_of_its_start(seed: int) -> None:
    picker, types = QuestionPicker(seed), frozenset({FIRST_TYPE})
    assert any(
        picker.pick(camera.scene(), camera.first_s + 1 + step / 4, types, first_s=camera.first_s, tolerance=1)
        for camera in cameras.demo_cameras(seed)
        for step in range(9)
    )


def test_the_truth_knows_only_what_a_camera_can_have_seen() -> None:
    """A visitor that left before the first frame is unknown; two that were in view then came at the same time."""
    scene = Scene(30)
    visits = scene.visits(120.0)
    first_other = next(visit for visit in visits if visit.name != visits[0].name)
    first = DemoQuestion("first", "what came first")

    assert questions.truth(scene, first, 120.0) == visits[0].name
    later = [visit for visit in visits if visit.leave_s > first_other.leave_s]
    assert questions.truth(scene, first, 120.0, first_s=first_other.leave_s) == later[0].name


def test_every_type_is_about_the_present_or_about_the_past() -> None:
    assert set(TYPES) == PRESENT_TYPES | PAST_TYPES


def test_the_same_seed_asks_the_same() -> None:
    def texts(seed: int) -> list[str]:
        return [question.text for _, question, _ in pick_eight(seed)]

    assert texts(5) == texts(5)
    assert texts(5) != texts(6)
