"""The public benchmarks end to end: drawn streets in the official formats, the tiny model, a kill, broken videos."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import contenders, streaming_video
from benchmarks.scorers import UnsupportedModel
from benchmarks.stream_memories import Task
from benchmarks.streaming import videos
from benchmarks.streaming.answers import AnswerFile, AnswerRow, Settings
from benchmarks.streaming.benchmark import StreamQuestion
from benchmarks.streaming.errors import AnswersInvalid
from benchmarks.streaming.viewing import Entrant, Viewer
from models import frame_encoder
from models.llava_onevision import LlavaOnevision
from models.vision_language_model import VideoLanguageModel
from tests.benchmarks import recordings
from tests.benchmarks.conftest import RunBenchmark
from tests.models import families
from tests.models.reference import plain_decoder, restored_attention

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(
    benchmark="OVO-Bench", edition="v2", annotations="abc", model="random", fingerprint="f", commit="c", fps=1.0,
    context_s=None, max_answer_tokens=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streets, under the names that each benchmark has for them, and the annotations of all."""
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(("first", "second"), 1):
        recordings.film(recordings.street(seed), folder / "streets" / f"{name}.mp4")
        (folder / f"{name}.mp4").symlink_to(folder / "streets" / f"{name}.mp4")
        (folder / f"sample_{seed}").mkdir()
        (folder / f"sample_{seed}" / "video.mp4").symlink_to(folder / "streets" / f"{name}.mp4")
    recordings.write(folder / "ovo_bench_new.json", recordings.ovo_items())
    recordings.write(folder / "questions_real.json", recordings.streaming_bench_items())
    recordings.write(folder / "ego4d_oe.json", recordings.rvs_items())
    return folder


def arguments(folder: Path, annotations: str, answers: Path, *more: object) -> list[object]:
    named = ["--annotations", folder / annotations, "--videos", folder, "--answers", answers, "--model", "tiny"]
    return [*named, "--device", "cpu", "--threads", 1, *more]


def answer_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def responses(file: Path) -> dict[tuple[str, int, str], str]:
    return {(one["policy"], one["budget"], one["question"]): one["response"] for one in answer_lines(file)}


def test_every_policy_at_every_budget_answers_every_question_with_all_that_identifies_it(
    folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    policies = ["--policies", "full", "questions", "window", "--budgets", "96", "256", "--last-frames", "4", "8"]
    options = [*policies, "--json", tmp_path / "rows.json", "--fps", "2"]
    ended = run_benchmark(
        streaming_video, "ovo-bench", *arguments(folder, "ovo_bench_new.json", tmp_path / "a.jsonl", *options)
    )

    assert ended.code == 0, ended.err
    lines = answer_lines(tmp_path / "a.jsonl")
    entrants = {("full", 256), ("questions", 96), ("questions", 256), ("window", 96), ("window", 256)}
    entrants |= {("last-4", 64), ("last-8", 128)}
    assert {(one["policy"], one["budget"]) for one in lines} == entrants
    assert len(lines) == 8 * len(entrants)
    for one in lines:
        assert (one["benchmark"], one["edition"], one["model"]) == ("OVO-Bench", "v2, mean of three categories", "tiny")
        assert (one["fps"], one["context_s"], len(one["annotations"])) == (2.0, None, 12)
        assert one["frames"] == int(2 * one["at_s"]) + 1
        assert one["bytes_per_camera"] > 0
        assert one["ttft_ms"] > 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {(row["policy"], row["budget"]) for row in rows} == entrants
    assert {row["need"] for row in rows if row["policy"] == "full"} == {
        "all", "backward and real-time", "backward", "real-time", "forward", "EPM", "HLD", "OCR", "REC", "SSR", "CRR",
    }  # fmt: skip
    assert all((row["fps"], row["context_s"], row["num_questions"]) == (2.0, None, 8) for row in rows)
    assert "### OVO-Bench (v2, mean of three categories, annotations " in ended.out
    assert "8 questions), tiny, 2 fps, all frames before a question" in ended.out
    assert "| policy | all | backward and real-time | backward |" in ended.out
    assert "| last-4, 64 tokens | " in ended.out
    assert "knows drawn streets only" in ended.err


def test_answers_about_streams_are_those_of_the_model_and_rvs_gets_no_score(
    folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    options = ["--policies", "questions", "--budgets", "256", "--last-frames", "--fps", "2"]
    ended = run_benchmark(
        streaming_video, "rvs-ego", *arguments(folder, "ego4d_oe.json", tmp_path / "a.jsonl", *options)
    )

    assert ended.code == 0, ended.err
    lines = answer_lines(tmp_path / "a.jsonl")
    assert len(lines) == sum(len(item["conversations"]) for item in recordings.rvs_items())
    assert all(one["is_right"] is None for one in lines)
    right = sum(one["response"] == one["expected"] for one in lines)
    assert right >= 0.8 * len(lines)
    predictions = tmp_path / "a" / "questions-256" / "pred.json"
    assert f"not scored here, a language model scores RVS-Ego: {predictions}" in ended.out
    assert "|" not in ended.out
    written = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert [one["pred"] for one in written] == [one["response"] for one in lines]


def test_a_shorter_context_is_a_stream_of_its_own_for_each_question(
    folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    options = ["--policies", "questions", "--budgets", "256", "--last-frames", "4", "--context", "4"]
    where = arguments(folder, "questions_real.json", tmp_path / "a.jsonl", *options)
    ended = run_benchmark(streaming_video, "streamingbench", *where)

    assert ended.code == 0, ended.err
    assert "the last 4 s before a question" in ended.out
    lines = answer_lines(tmp_path / "a.jsonl")
    assert len(lines) == 6
    assert all((one["frames"], one["context_s"], one["fps"]) == (4, 4.0, 1.0) for one in lines)
    # Four frames are below every budget, so that a memory and a plain answer over them see the same.
    found = responses(tmp_path / "a.jsonl")
    assert all(found["questions", 256, name] == text for (_, budget, name), text in found.items() if budget == 64)


def test_a_killed_run_goes_on_where_it_was(folder: Path, tmp_path: Path, run_benchmark: RunBenchmark) -> None:
    options = ["--policies", "questions", "hermes", "--budgets", "96"]
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    first = run_benchmark(streaming_video, "ovo-bench", *arguments(folder, "ovo_bench_new.json", whole, *options))
    where = map(str, arguments(folder, "ovo_bench_new.json", killed, *options))
    command = [sys.executable, "-m", "benchmarks.streaming_video", "ovo-bench", *where]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("(1 of 2)" in line for line in process.stderr)
        process.send_signal(signal.SIGKILL)
    done = len(answer_lines(killed))
    with killed.open("a") as file:
        file.write(answer_lines(killed)[0]["response"] + '{"benchmark": "OVO')  # cut off in the middle of a line

    again = run_benchmark(streaming_video, "ovo-bench", *arguments(folder, "ovo_bench_new.json", killed, *options))

    assert (first.code, again.code) == (0, 0), again.err
    assert 9 <= done < 24
    assert "first.mp4 (1 of 2): 0 answers" in again.err
    assert len(answer_lines(killed)) == 24
    assert responses(killed) == responses(whole)


def test_answers_of_other_settings_stay_and_do_not_count(
    folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    options = ["--policies", "window", "--budgets", "96", "--last-frames"]
    where = arguments(folder, "questions_real.json", tmp_path / "a.jsonl", *options)
    run_benchmark(streaming_video, "streamingbench", *where)
    other = run_benchmark(streaming_video, "streamingbench", *where, "--fps", "2")

    assert "3 answers of other settings do not count" in other.err
    assert "2 fps" in other.out
    assert "1 fps" not in other.out
    assert len(answer_lines(tmp_path / "a.jsonl")) == 6


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """The folder with the second video replaced by a file that is no video."""
    (tmp_path / "streets").mkdir()
    (tmp_path / "streets" / "first.mp4").symlink_to(folder / "streets" / "first.mp4")
    (tmp_path / "streets" / "second.mp4").write_bytes(b"no video at all" * 99)
    recordings.write(tmp_path / "ovo_bench_new.json", recordings.ovo_items())
    return tmp_path


def test_an_unreadable_video_ends_the_run_or_is_left_out(broken: Path, run_benchmark: RunBenchmark) -> None:
    options = ["--policies", "window", "--budgets", "96", "--last-frames"]
    where = arguments(broken, "ovo_bench_new.json", broken / "a.jsonl", *options)
    ended = run_benchmark(streaming_video, "ovo-bench", *where)
    left_out = run_benchmark(streaming_video, "ovo-bench", *where, "--skip-broken")

    assert ended.code == 2
    assert "error: " in ended.err
    assert "second.mp4" in ended.err.splitlines()[-1]
    assert left_out.code == 0
    assert "left out: " in left_out.err
    assert "| window, 96 tokens |" in left_out.out
    assert "8 questions" in left_out.out
    assert len(answer_lines(broken / "a.jsonl")) == 3


def test_a_missing_video_is_named_before_the_model_is_loaded(broken: Path, run_benchmark: RunBenchmark) -> None:
    (broken / "streets" / "second.mp4").unlink()
    where = arguments(broken, "ovo_bench_new.json", broken / "a.jsonl", "--model", "/no/such/model")
    ended = run_benchmark(streaming_video, "ovo-bench", *where)

    assert ended.code == 2
    file = broken / "ovo_bench_new.json"
    assert f"error: 5 of 8 questions have no video: {file}: item 3: video: no such video in {broken} " in ended.err
    assert "(looked for streets/second.mp4, 2.mp4)" in ended.err
    assert not (broken / "a.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policies", "lru"], "policy 'lru' (one of full, window"),
        (["--policies", "ours-gated"], "policy 'ours-gated': recordings of these benchmarks are read without a gate"),
        (["--budgets", "17", "--policies", "questions"], "memory.tokens_per_layer is 17: 1 recent frames"),
        (["--context", "0"], "argument --context: 0.0 (above 0)"),
    ],
)
def test_a_wrong_option_is_refused(
    options: list[str], message: str, folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    ended = run_benchmark(
        streaming_video, "ovo-bench", *arguments(folder, "ovo_bench_new.json", tmp_path / "a.jsonl", *options)
    )

    assert ended.code == 2
    assert message in ended.err


def test_an_id_that_occurs_twice_is_refused(folder: Path, tmp_path: Path, run_benchmark: RunBenchmark) -> None:
    twice = recordings.write(tmp_path / "twice.json", [*recordings.ovo_items(), recordings.ovo_items()[0]])
    ended = run_benchmark(
        streaming_video,
        "ovo-bench",
        *arguments(folder, "ovo_bench_new.json", tmp_path / "a.jsonl"),
        "--annotations",
        twice,
    )

    assert ended.code == 2
    assert f"{twice}: id '0' occurs 2 times" in ended.err


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

    answers = list(viewer.watch(video, "first", [(newest, question("1", 7.0)), (newest, question("2", 11.0))]))

    assert [answer.frames for answer in answers] == [8, 12]
    frames = [frame.pixels for frame in videos.read(video, SETTINGS.fps, model.spec.layout.fit)]
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

    answers = list(viewer.watch(folder / "streets" / "first.mp4", "first.mp4", todo))

    assert [answer.frames for answer in answers] == [5] * 8 + [10] * 8 + [21] * 8


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


@pytest.mark.parametrize("name", ["rekv", "hermes-published"])
def test_a_contender_of_one_family_refuses_another(name: str) -> None:
    model = families.qwen3_vl().model

    with pytest.raises(UnsupportedModel, match="is not a LLaVA-OneVision, the only family it reads"):
        contenders.named(name).make(Task(model, 1, 4_000, 16))
