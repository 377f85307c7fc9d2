"""Which models the accuracy benchmark takes, and what it does with several of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import accuracy
from benchmarks.contenders import OURS
from benchmarks.rows import ALL
from models import catalogue
from tests.benchmarks.conftest import RunBenchmark


def test_a_full_cache_is_left_out_of_a_length_for_which_one_of_the_pooled_models_has_no_positions() -> None:
    """A pair of frames of the second model takes 22 positions at most, two frames of the first one 32."""
    first, second = accuracy.load("tiny"), accuracy.load("tiny-qwen3-vl")

    assert accuracy._capable(["full", OURS], 240, (first, second)) == ["full", OURS]
    assert accuracy._capable(["full", OURS], 256, (first, second)) == [OURS]
    assert accuracy._capable(["full", OURS], 256, (second,)) == ["full", OURS]


def test_both_tiny_models_are_examined_on_the_same_streams(tmp_path: Path, run_benchmark: RunBenchmark) -> None:
    arguments = ["--models", "tiny", "tiny-qwen3-vl", "--threads", "1", "--streams", "2", "--lengths", "32"]
    arguments += ["--budgets", "96", "--policies", "full", "ours-gated", "hermes-published"]
    ended = run_benchmark(accuracy, *arguments, "--folder", tmp_path / "parts", "--json", tmp_path / "rows.json")

    assert ended.code == 0
    found = [row for row in json.loads((tmp_path / "rows.json").read_text())["rows"] if row["need"] == ALL]
    assert {row["policy"] for row in found} == {"full", "ours-gated", "hermes-published"}
    assert all(len(row["by_model"]) == 2 for row in found)
    assert all(min(row["by_model"]) > 0.9 for row in found if row["policy"] == "full" and row["delay_s"] is None)


def test_a_model_whose_vocabulary_lacks_a_word_of_the_scenes_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(catalogue.CHECKPOINTS["tiny"], tmp_path / "model"))
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer.replace('"truck"', '"lorry"'))

    with pytest.raises(SystemExit, match="its vocabulary lacks 'truck', so it cannot answer about these scenes"):
        accuracy.load(str(folder))


def test_a_contender_that_cannot_read_a_model_says_so(tmp_path: Path, run_benchmark: RunBenchmark) -> None:
    ended = run_benchmark(
        accuracy,
        "--models",
        "tiny-qwen3-vl",
        "--policies",
        "rekv",
        "--lengths",
        32,
        "--streams",
        1,
        "--folder",
        tmp_path,
    )

    assert ended.code == 2
    assert "rekv reads LLaVA-OneVision alone" in ended.err
