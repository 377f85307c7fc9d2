"""Product code uses the words of docs/glossary.md: no identifier is one of the words that they replaced.

`python -m tests.test_words` lists every place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("ops", "cache_store", "models", "pipeline", "actors", "console", "benchmarks")
# Metaphors and coinages: not even a part of an identifier.
COINED = {"tenure", "succession", "gaze", "wanting", "entrance", "patience", "handover", "cutter", "heir", "stranger"}
COINED |= {"unwitnessed", "witnessed"}
# A variable is named for what it is, not for what was done to it.
PARTICIPLES = {"held", "told", "asked", "known", "placed", "looked", "gone", "wanted", "granted_by"}
PARTICIPLES |= {"door", "orders", "again_and_again"}


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module binds, uses or passes by keyword, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.keyword(arg=str(name)):
                yield node.lineno, name
            case ast.alias(name=name, asname=alias):
                yield node.lineno, (alias or name).split(".")[-1]


def is_replaced(identifier: str) -> bool:
    snake_case = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().strip("_")
    return snake_case in PARTICIPLES or not COINED.isdisjoint(snake_case.split("_"))


def replaced_words() -> list[str]:
    """file:line identifier"""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    trees = ((path.relative_to(ROOT), ast.parse(path.read_text())) for path in paths)
    return [
        f"{path}:{line} {name}" for path, tree in trees for line, name in identifiers(tree) if is_replaced(name)
    ] + [f"{path.relative_to(ROOT)}:1 {path.stem}" for path in paths if is_replaced(path.stem)]


def test_no_identifier_is_a_word_that_was_replaced() -> None:
    assert replaced_words() == []


if __name__ == "__main__":
    print("\n".join(sorted(set(replaced_words()))))  # noqa: T201
