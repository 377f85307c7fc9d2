"""The JSON file that every benchmark writes with --json: metrics by name, rows, and how they came about."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, parts


def add_option(parser: ArgumentParser) -> None:
    """Adds --json FILE to a benchmark's options."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write metrics and rows to this file")


def write(
    path: Path | None, metrics: Mapping[str, Any], *, rows: Iterable[object] = (), machine_suffix: str = ""
) -> None:
    """Writes one JSON object: command, machine, commit, the metrics, and `rows`. Does nothing without a path.

    A row is a mapping or a dataclass.
    """
    if path is None:
        return
    origin = {"command": _command(), "machine": machine.described() + machine_suffix, "commit": parts.current_commit()}
    listed = [asdict(row) if is_dataclass(row) and not isinstance(row, type) else row for row in rows]
    document = origin | dict(metrics) | ({"rows": listed} if listed else {})
    path.write_text(json.dumps(document, indent=2) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a result file, or of a file with one JSON object a line, as earlier versions wrote them."""
    text = path.read_text()
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]
    rows: list[dict[str, Any]] = document.get("rows", [document])
    return rows


def _command() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name if spec else Path(sys.argv[0]).stem
    return shlex.join(["python", "-m", name, *sys.argv[1:]])
