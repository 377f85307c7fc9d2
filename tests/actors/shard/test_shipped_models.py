"""Shards with the shipped models: right answers about a recording, and memories that only their own model restores."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from actors.shard.camera_shard import CameraShard
from models import registry
from models.tiny.scenes.questions import Question, questions_at
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import Done
from pipeline.decoding import video_writer
from tests.actors.shard.shards import FRAMES_SAMPLED, Running, assignment, status, watch_whole

SEED, FPS = 1, 2
END_S = (FRAMES_SAMPLED - 1) / FPS
NAMES = ("tiny", "tiny-qwen3-vl")


@pytest.fixture(scope="module")
def models() -> dict[str, VideoLanguageModel]:
    return {name: registry.load_model(name, "cpu") for name in NAMES}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SEED, mean_gap_s=5.0)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> str:
    """24 s of a wide drawn street."""
    path = tmp_path_factory.mktemp("films") / "street"
    pictures = (scene.frame(number / FPS, 320, 180) for number in range(FRAMES_SAMPLED))
    video_writer.write_video(pictures, path, fps=FPS, codec="mjpeg")
    return str(path)


async def answers(shard: CameraShard, questions: list[Question]) -> AsyncIterator[str]:
    for question in questions:
        done = [event async for event in shard.ask("street", question.text)][-1]
        assert isinstance(done, Done)
        yield done.answer


@pytest.mark.parametrize("name", NAMES)
async def test_every_answer_is_right_and_so_are_those_of_the_shard_that_restores_the_memory(
    running: Running, models: dict[str, VideoLanguageModel], recording: str, scene: Scene, name: str
) -> None:
    questions = questions_at(scene.visits(END_S + 1), END_S, random.Random(0))
    async with running(model=models[name]) as shard:
        await watch_whole(shard, "street", recording)
        compactions = (await status(shard, "street")).memory.compactions
        first = [answer async for answer in answers(shard, questions)]
    async with running(model=models[name]) as shard:
        await shard.add_camera(assignment("street", recording))
        assert (await status(shard, "street")).memory.checkpointed_s is not None
        restored = [answer async for answer in answers(shard, questions)]

    assert len({question.type for question in questions}) == 13
    assert first == [question.answer for question in questions]
    assert restored == first
    assert compactions > 0


@pytest.mark.parametrize(("saved_by", "taken_by"), [NAMES, NAMES[::-1]])
async def test_a_memory_that_one_model_saved_is_not_restored_by_the_other(
    running: Running, models: dict[str, VideoLanguageModel], recording: str, saved_by: str, taken_by: str
) -> None:
    """Both have the same layers, heads and number type, so only the fingerprint tells them apart."""
    assert models[saved_by].spec.kv.footprint == models[taken_by].spec.kv.footprint
    async with running(model=models[saved_by]) as shard:
        await watch_whole(shard, "street", recording)

    async with running(model=models[taken_by]) as shard:
        await shard.add_camera(assignment("street", "sim:street"))
        memory = (await status(shard, "street")).memory

    assert memory.compactions == 0
    assert [gap.reason for gap in memory.gaps] == ["its checkpoints could not be read"]
