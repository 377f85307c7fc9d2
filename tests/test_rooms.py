"""The shape of the house: rooms come from this repository, dependencies stay at their addresses, nothing unpickles."""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ops", "cache_store", "models", "pipeline", "actors", "protos", "console")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ADDRESSES: dict[str, list[str]] = PROJECT["tool"]["hermes"]["addresses"]


@functools.cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    # CPython 3.11 fails to parse where collecting garbage in the middle of it ends what other tests left behind.
    gc.collect()
    gc.disable()
    try:
        return tuple((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in paths)
    finally:
        gc.enable()


def imported(tree: ast.Module) -> set[str]:
    """The top-level names of everything that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_was_imported_from_this_repository(room: str) -> None:
    """`ops` and `pipeline` are names of foreign packages too."""
    found = importlib.import_module(room).__file__
    assert found is not None
    assert Path(found).parent == ROOT / room


@pytest.mark.parametrize("dependency", ADDRESSES)
def test_a_dependency_stays_at_its_address(dependency: str) -> None:
    allowed = ADDRESSES[dependency]
    elsewhere = [
        path
        for path, tree in modules()
        if any(name == dependency or name.startswith(f"{dependency}_") for name in imported(tree))
        and not any(path == place or path.startswith(f"{place}/") for place in allowed)
    ]
    assert elsewhere == []


@pytest.mark.parametrize("dependency", ADDRESSES)
def test_an_address_is_lived_at(dependency: str) -> None:
    inhabited = {path for path, tree in modules() if any(name.startswith(dependency) for name in imported(tree))}
    for place in ADDRESSES[dependency]:
        assert any(path == place or path.startswith(f"{place}/") for path in inhabited), place


def test_nothing_is_ever_unpickled() -> None:
    for path, tree in modules():
        assert not imported(tree) & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}, path
        loads = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr == "load"
            and isinstance(node.value, ast.Name)
            and node.value.id == "torch"
        ]
        assert not loads, path


def test_every_room_says_what_it_is_for_and_nothing_else() -> None:
    for room in ROOMS:
        tree = ast.parse((ROOT / room / "__init__.py").read_text())
        assert ast.get_docstring(tree), room
        assert len(tree.body) == 1, room
