"""What the demo asks is worth asking, and its truth does not hang on a fraction of a second."""

from __future__ import annotations

import pytest

from console.demo import cameras, questions
from console.demo.questions import DemoQuestion, QuestionPicker
from models.tiny.scenes.scene import Scene


def pick_eight(seed: int) -> list[tuple[Scene, DemoQuestion, float]]:
    scenes = [camera.scene() for camera in cameras.demo_cameras(seed)]
    questioner = QuestionPicker(seed)
    picked = []
    for number in range(60):
        seen, now_s = scenes[number % 4], 20.0 + number / 2
        asked = questioner.pick(seen, now_s, tolerance=number // 10)
        if asked is not None:
            picked.append((seen, asked, now_s))
        if len(picked) == 8:
            break
    return picked


@pytest.mark.parametrize("seed", range(12))
def test_eight_questions_of_several_types_some_about_the_past(seed: int) -> None:
    asked = [one for _, one, _ in pick_eight(seed)]

    assert len(asked) == 8
    assert len({one.type for one in asked}) >= 5
    assert 2 <= sum(one.is_about_the_past for one in asked) <= 7


@pytest.mark.parametrize("seed", range(12))
def test_the_truth_is_the_same_a_moment_before_and_after(seed: int) -> None:
    for seen, asked, now_s in pick_eight(seed):
        truths = {questions.truth(seen, asked.text, now_s + shift / 4) for shift in range(-12, 7)}
        assert len(truths) == 1
        assert truths != {None}


def test_the_same_seed_asks_the_same() -> None:
    def texts(seed: int) -> list[str]:
        return [asked.text for _, asked, _ in pick_eight(seed)]

    assert texts(5) == texts(5)
    assert texts(5) != texts(6)


def test_four_cameras_in_four_codecs_see_four_scenes() -> None:
    shown = cameras.demo_cameras(7)

    assert [camera.codec for camera in shown] == [None, "h264", "vp9", "mjpeg"]
    assert len({camera.seed for camera in shown}) == 4
    assert {camera.seed for camera in shown}.isdisjoint(camera.seed for camera in cameras.demo_cameras(8))
