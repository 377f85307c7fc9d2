"""Every benchmark writes the same kind of JSON file: metrics by name, rows, command, machine and commit."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import result_file

FOLDER = Path(__file__).parents[2] / "benchmarks"
NO_BENCHMARKS = ("report", "decoding_samples")
RUN = [
    path
    for path in sorted(FOLDER.glob("*.py"))
    if "\ndef main()" in path.read_text() and path.stem not in NO_BENCHMARKS
]


@dataclass(frozen=True)
class Row:
    frames: int


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_a_benchmark_takes_json_and_writes_it(path: Path) -> None:
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "result_file"
    }
    assert {"add_option", "write"} <= calls


def test_a_result_names_its_command_machine_and_commit(tmp_path: Path) -> None:
    file = tmp_path / "result.json"

    result_file.write(file, {"ttft_p50_ms": 9.5}, rows=[Row(100), {"frames": 200}], machine_suffix=", torch 2")

    document = json.loads(file.read_text())
    assert document["ttft_p50_ms"] == 9.5
    assert document["rows"] == [{"frames": 100}, {"frames": 200}]
    assert document["machine"].endswith("cores, torch 2")
    assert document["command"].startswith("python -m ")
    assert len(document["commit"]) >= 10


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    result_file.write(None, {"ttft_p50_ms": 9.5})
    assert not list(tmp_path.iterdir())


def test_rows_of_earlier_versions_are_read_too(tmp_path: Path) -> None:
    lines, document, single = (tmp_path / name for name in ("rows.jsonl", "rows.json", "one.jsonl"))
    rows = [{"frames": 100}, {"frames": 200}]
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n")
    result_file.write(document, {}, rows=rows)
    single.write_text(json.dumps(rows[0]) + "\n")

    assert result_file.read_rows(lines) == rows
    assert result_file.read_rows(document) == rows
    assert result_file.read_rows(single) == rows[:1]
