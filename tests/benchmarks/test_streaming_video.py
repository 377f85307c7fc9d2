"""The public benchmarks end to end: drawn streets in the official formats, the tiny model, a kill, broken videos."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import streaming_video
from tests.benchmarks import recordings
from tests.benchmarks.conftest import RunBenchmark
from tests.benchmarks.recordings import answer_lines, arguments

ROOT = Path(__file__).parents[2]


def responses(file: Path) -> dict[tuple[str, int, str], str]:
    return responses_of(file.read_bytes().splitlines())


def responses_of(lines: Iterable[bytes]) -> dict[tuple[str, int, str], str]:
    answers = [json.loads(line) for line in lines]
    return {(one["policy"], one["budget"], one["question"]): one["response"] for one in answers}


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

    again = run_benchmark(streaming_video, "ovo-bench", *arguments(folder, "ovo_bench_new.json", killed, *options))

    assert (first.code, again.code) == (0, 0), again.err
    assert "first.mp4 (1 of 2): 9 answers" in first.err
    assert "first.mp4 (1 of 2): 0 answers" in again.err
    assert len(answer_lines(killed)) == 24
    assert responses(killed) == responses(whole)


@pytest.mark.parametrize("num_whole", [0, 4, 10])
def test_a_line_that_was_cut_off_is_answered_again(
    num_whole: int, folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    """In front of everything, in the middle of the first video, and of the second."""
    options = ["--policies", "questions", "--budgets", "96"]
    where = arguments(folder, "ovo_bench_new.json", tmp_path / "a.jsonl", *options)
    run_benchmark(streaming_video, "ovo-bench", *where)
    before = (tmp_path / "a.jsonl").read_bytes()
    lines = before.splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[:num_whole]) + lines[num_whole][:50])
    expected = responses_of(lines)

    again = run_benchmark(streaming_video, "ovo-bench", *where)

    assert again.code == 0, again.err
    after = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    assert after[:num_whole] == lines[:num_whole]
    assert len(after) == len(lines) == 16
    assert responses_of(after) == expected


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
