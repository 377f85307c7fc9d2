"""The shape of the house: packages, file sizes, the addresses of dependencies, the README's list; nothing unpickles."""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ops", "cache_store", "models", "pipeline", "actors", "protos", "console")
PACKAGES = sorted(
    path.parent.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("__init__.py")
)
MAX_LINES = 250
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ADDRESSES: dict[str, list[str]] = PROJECT["tool"]["hermes"]["addresses"]


@functools.cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    # CPython 3.11 fails to parse when a garbage collection in the middle of it finalises objects of earlier tests.
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
def test_an_address_imports_its_dependency(dependency: str) -> None:
    importing = {path for path, tree in modules() if any(name.startswith(dependency) for name in imported(tree))}
    for place in ADDRESSES[dependency]:
        assert any(path == place or path.startswith(f"{place}/") for path in importing), place


def test_nothing_is_ever_unpickled() -> None:
    for path, tree in modules():
        assert not imported(tree) & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}, path
        assert not re.search(r"\btorch\.load\(|from torch import .*\bload\b", ast.unparse(tree)), path


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_in_one_sentence_what_it_is_for_and_nothing_else(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    docstring = ast.get_docstring(tree) or ""

    assert len(tree.body) == 1
    assert re.findall(r"[.!?](?=\s|$)", docstring) == ["."], docstring


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_tells_type_checkers_that_it_is_typed(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()


def test_every_package_of_code_has_its_file_that_makes_it_one() -> None:
    folders = {Path(path).parent.as_posix() for path, _ in modules()}
    assert folders == set(PACKAGES)


def test_no_file_is_longer_than_two_hundred_and_fifty_lines() -> None:
    lines = {path: (ROOT / path).read_text().count("\n") for path, _ in modules() if "_pb2" not in path}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_tests_mirror_the_rooms() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    mirrored = {folder for folder in folders if folder.split("/")[0] in ROOMS}

    assert mirrored <= set(PACKAGES)
    assert {folder.split("/")[0] for folder in mirrored} == set(ROOMS) - {"protos"}


def test_the_readme_has_a_line_for_every_package_and_no_other() -> None:
    """Sub-packages stand two spaces deeper than their room, with their path inside it."""
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    rows = re.findall(r"^( *)([\w/]+)/\s+(\S.*)$", next(block for block in blocks if "ops/" in block), re.MULTILINE)
    listed, room = [], ""
    for indent, path, _ in rows:
        room = room if indent else path
        listed.append(f"{room}/{path}" if indent else path)

    assert sorted(listed) == sorted({*PACKAGES, "benchmarks", "k8s", "tests"})
