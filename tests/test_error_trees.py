"""The tree of errors that a docstring draws has exactly the classes of its module, each below its base class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cache_store", "models", "pipeline", "actors", "console", "benchmarks")
_ROW = re.compile(r"(?P<indent>(?:│   |    )*)[├└]── (?P<name>\w+)")


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "── " in (text := path.read_text()):
                yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def _drawn(tree: ast.Module) -> dict[str, str]:
    """The base class of each error, from the one docstring that draws a tree."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef)]
    (docstring,) = [text for node in nodes if "── " in (text := ast.get_docstring(node) or "")]
    lines = docstring.splitlines()
    first = next(index for index, line in enumerate(lines) if _ROW.match(line))
    above, bases = [lines[first - 1].split()[0]], {}
    for line in lines[first:]:
        if row := _ROW.match(line):
            depth = len(row["indent"]) // 4
            bases[row["name"]] = above[depth]
            above[depth + 1 :] = [row["name"]]
    return bases


def _defined(tree: ast.Module, root: str) -> dict[str, str]:
    """The base class of each class that descends from `root`; bases stand before their subclasses."""
    bases: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.bases:
            base = ast.unparse(node.bases[0])
            if base == root or base in bases:
                bases[node.name] = base
    return bases


@pytest.mark.parametrize(("path", "tree"), [pytest.param(path, tree, id=path) for path, tree in _modules()])
def test_a_tree_of_errors_has_exactly_the_classes_of_its_module(path: str, tree: ast.Module) -> None:
    drawn = _drawn(tree)

    assert _defined(tree, next(iter(drawn.values()))) == drawn
