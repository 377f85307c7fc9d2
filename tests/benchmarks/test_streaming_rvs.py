"""RVS: open answers about streams, without a score until the official judge has written one."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import streaming_video
from tests.benchmarks import recordings
from tests.benchmarks.conftest import RunBenchmark
from tests.benchmarks.recordings import answer_lines, arguments


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


def test_what_the_official_judge_of_rvs_wrote_becomes_rows(
    folder: Path, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    options = ["--policies", "window", "--budgets", "96", "--last-frames", "4", "--json", tmp_path / "rows.json"]
    where = arguments(folder, "ego4d_oe.json", tmp_path / "a.jsonl", *options)
    run_benchmark(streaming_video, "rvs-ego", *where)
    predictions = tmp_path / "a" / "window-96" / "pred.json"
    written = [json.loads(line) for line in predictions.read_text().splitlines()]
    verdicts = [{"pred": "yes", "score": 4.8}, {"pred": "No", "score": 1}, {"pred": "yes", "score": "5"}]
    verdicts += [{"pred": "yes", "score": 5}]  # of a response that another run gave
    written[3]["pred"] = "something else"
    content = {
        f"{one['id']}_0": [verdict, {"q": one["question"], "a": one["answer"], "pred": one["pred"], "a_type": None}]
        for one, verdict in zip(written, verdicts, strict=False)
    }
    results = recordings.write(predictions.with_name("results.json"), content)

    judged = run_benchmark(streaming_video, "rvs-ego", *where)

    assert judged.code == 0, judged.err
    rows = [row for row in json.loads((tmp_path / "rows.json").read_text())["rows"] if row["need"] == "all"]
    assert [(row["policy"], row["n"], row["accuracy"], row["judge_score"]) for row in rows] == [
        ("window", 3, 0.6667, 3.33)
    ]
    assert "| window, 96 tokens | 0.667 (" in judged.out
    assert "not scored here, a language model scores RVS-Ego" in judged.out
    results.write_text('{"first_0_0_0": [{"pred": "yes"}, {}]}')
    broken = run_benchmark(streaming_video, "rvs-ego", *where)
    assert broken.code == 2
    assert f"{results}: not what the official program writes ('score')" in broken.err
