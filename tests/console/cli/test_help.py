"""The help of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from console.cli import commands
from tests.console.running import run_here


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*path, name))


PATHS = list(paths(typer.main.get_command(commands.app)))


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_the_help_of_a_command_cuts_no_word_at_80_columns(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = run_here(*path, "--help")

    assert (ended.code, ended.err) == (0, "")
    assert "…" not in ended.out
    assert "[[" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_every_command_is_looked_at() -> None:
    assert {("plan",), ("cameras", "add"), ("shards", "list"), ("node", "drain")} <= set(PATHS)


@pytest.mark.parametrize(
    "column", ["shard", "state", "node", "process", "memory", "busy", "frames", "slots", "cameras"]
)
def test_the_help_of_the_list_of_shards_says_what_each_column_means(column: str) -> None:
    assert f"{column}: " in run_here("shards", "list", "--help").out


@pytest.mark.parametrize("column", ["camera", "state", "shard", "newest", "reason", "url"])
def test_the_help_of_the_list_of_cameras_says_what_each_column_means(column: str) -> None:
    assert f"{column}: " in run_here("cameras", "list", "--help").out
