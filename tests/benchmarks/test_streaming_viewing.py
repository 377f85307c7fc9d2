"""One video for several policies at once: the simple baseline, pairs of frames, the file of answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import contenders
from benchmarks.scorers import UnsupportedModel
from benchmarks.stream_memories import Task
from benchmarks.streaming import videos
from benchmarks.streaming.answers import AnswerFile, AnswerRow, Settings
from benchmarks.streaming.benchmark import StreamQuestion
from benchmarks.streaming.errors import AnswersInvalid, VideoMissing
from benchmarks.streaming.viewing import Entrant, Viewer
from models import frame_encoder
from models.llava_onevision import LlavaOnevision
from models.vision_language_model import VideoLanguageModel
from tests.models import families
from tests.models.reference import plain_decoder, restored_attention

SETTINGS = Settings(
    benchmark="OVO-Bench", edition="v2", annotations="abc", model="random", fingerprint="f", commit="c", fps=1.0,
    context_s=None, max_answer_tokens=6,
)  # fmt: skip


def question(name: str, at_s: float) -> StreamQuestion:
    return StreamQuestion(id=name, task="open", text="what is in view", answer="", at_s=at_s, videos=(), origin="")


def row(name: str, response: str = "a dog") -> AnswerRow:
    return AnswerRow(
        settings=SETTINGS, policy="questions", budget=96, question=name, task="EPM", video="v", at_s=1.0, frames=2,
        response=response, expected="B", is_right=False, bytes_per_camera=1, upkeep_share=0.0, ttft_ms=1.0,
    )  # fmt: skip


def test_one_run_has_the_file_of_answers(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "a.jsonl", SETTINGS) as answers:
        answers.add(row("1"))
        with pytest.raises(AnswersInvalid, match=r"a\.jsonl: another run writes it"):
            AnswerFile(tmp_path / "a.jsonl", SETTINGS)

    with AnswerFile(tmp_path / "a.jsonl", SETTINGS) as again:
        assert list(again.rows.values()) == [row("1")]


def test_a_broken_line_of_answers_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(row("1").to_json() + '\n{"benchmark": 3}\n')

    with pytest.raises(AnswersInvalid, match=r"a\.jsonl: line 2 is no answer of this benchmark"):
        AnswerFile(tmp_path / "a.jsonl", SETTINGS)


def test_the_baseline_is_what_generate_of_transformers_says_of_the_newest_frames(
    model: LlavaOnevision, folder: Path
) -> None:
    viewer = Viewer(model, SETTINGS, None, reserve=64)
    video, newest = folder / "streets" / "first.mp4", Entrant.newest_frames(3, model)

    todo = [(newest, question("1", 7.0)), (newest, question("2", 11.0))]
    answers = list(viewer.watch(video, "first", todo, {7.0, 11.0}))

    assert [answer.frames for answer in answers] == [8, 12]
    frames = [frame.pixels for frame in videos.read(video, SETTINGS.fps, model.spec.layout.frame_fit)]
    for answer in answers:
        assert answer.response == generated(model, torch.stack(frames[answer.frames - 3 : answer.frames]))


def generated(model: LlavaOnevision, frames: torch.Tensor) -> str:
    """The answer of transformers' own `generate` to the question over these frames."""
    network = model._network
    num_video_tokens = len(frames) * model.spec.layout.max_cells + 1
    ids = [*model.prompts.prefix, *[network.config.video_token_id] * num_video_tokens]
    prompt = torch.tensor([[*ids, *model.prompts.question("what is in view").ids]])
    scaled = (frames.permute(0, 3, 1, 2).float() / 255 - model._mean) / model._std
    with restored_attention(model), torch.inference_mode():
        plain_decoder(model, "sdpa")
        output = network.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            pixel_values_videos=scaled[None],
            max_new_tokens=SETTINGS.max_answer_tokens,
            do_sample=False,
            eos_token_id=model.prompts.end_id,
        )
    new = output[0, prompt.shape[1] :].tolist()
    return model.prompts.decode(tuple(new[: new.index(model.prompts.end_id)] if model.prompts.end_id in new else new))


@pytest.mark.parametrize("family", [families.qwen3_vl, families.qwen2_5_vl], ids=["qwen3_vl", "qwen2_5_vl"])
def test_a_family_that_reads_pairs_of_frames_answers_between_them_too(family: Any, folder: Path) -> None:
    model: VideoLanguageModel = family().model
    budget = model.spec.layout.max_tokens(6)
    entrants = [
        Entrant(name, name, budget) for name in ("full", "questions", "hermes", "window", "random", "infinipot")
    ]
    entrants += [Entrant("uniform", "uniform", budget), Entrant.newest_frames(4, model)]
    viewer = Viewer(model, SETTINGS, None, reserve=64)
    todo = [(one, question(str(at_s), at_s)) for at_s in (4.0, 9.0, 20.0) for one in entrants]

    answers = list(viewer.watch(folder / "streets" / "first.mp4", "first.mp4", todo, {4.0, 9.0, 20.0}))

    assert [answer.frames for answer in answers] == [5] * 8 + [10] * 8 + [21] * 8


def test_a_video_is_looked_for_below_the_folder_whatever_its_path(folder: Path) -> None:
    absolute = dataclasses.replace(question("1", 1.0), videos=("/streets/first.mp4",))
    outside = dataclasses.replace(question("1", 1.0), videos=(str(folder / "first.mp4"),))

    assert videos.find(absolute, folder) == folder / "streets" / "first.mp4"
    with pytest.raises(VideoMissing, match="no such video"):
        videos.find(outside, folder / "streets")


def test_a_run_that_goes_on_in_the_middle_of_a_video_gives_the_answers_that_it_would_have_given(folder: Path) -> None:
    """The stream is cut into steps at the moments of the questions that are answered already, too."""
    model = families.qwen3_vl().model
    viewer, video = Viewer(model, SETTINGS, None, reserve=64), folder / "streets" / "first.mp4"
    entrant, moments = Entrant("window", "window", model.spec.layout.max_tokens(6)), (4.0, 6.0, 9.0, 20.0)
    todo = [(entrant, question(str(at_s), at_s)) for at_s in moments]

    whole = [one.response for one in viewer.watch(video, "first.mp4", todo, moments)]
    rest = [one.response for one in viewer.watch(video, "first.mp4", todo[2:], moments)]

    assert rest == whole[2:]


def test_the_newest_frames_are_read_in_the_groups_in_which_they_came() -> None:
    """A group that a question cut short stays one of one frame."""
    family = families.qwen3_vl()
    layout = family.model.spec.layout
    contender = contenders.named("last-n").make(Task(family.model, 1, layout.max_tokens(6), 16))
    frames, start = family.frames(9), 0
    for num_frames in (4, 1, 4):
        times_s = torch.arange(start, start + num_frames, dtype=torch.float64)[None]
        contender.append(frame_encoder.encode(family.model, frames[None, start : start + num_frames]), times_s)
        start += num_frames

    memory, _ = next(contender.recall(0, [question("1", 9.0)]))

    assert memory.next_frame == 3
    times_s = memory.after_prefix(0).times_s
    assert float(times_s.min()) >= 4.0
    assert 7.0 <= float(times_s.max()) <= 8.0


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("rekv", families.qwen3_vl, "rekv reads LLaVA-OneVision alone: model 'random' is a Qwen3VL"),
        ("hermes-published", families.qwen2_5_vl, "LLaVA-OneVision and Qwen3-VL alone: model 'random' is a Qwen25VL"),
    ],
)
def test_a_contender_of_some_families_refuses_another(
    name: str, model: Callable[[], families.Family], message: str
) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        contenders.named(name).make(Task(model().model, 1, 4_000, 16))
