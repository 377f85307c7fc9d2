"""README and docs name only what exists: files, links, packages, make targets, modules and configuration keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.config import loading

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("ops", "cache_store", "models", "pipeline", "actors", "protos", "console", "benchmarks", "tests", "docs")
PATH = re.compile(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def identifier(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = {name for name in PATH.findall(page.read_text()) if "FAMILY" not in name}
    missing = {name for name in named if not (ROOT / name).exists()}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert {target for target in targets if not (page.parent / target).exists()} == set()


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {identifier(page) for page in PAGES[1:]} <= linked


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.M)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_module_that_a_page_runs_exists(page: Path) -> None:
    modules = re.findall(r"python -m ((?:benchmarks|models|actors|protos)[\w.]*)", page.read_text())
    missing = {name for name in modules if not (ROOT / (name.replace(".", "/") + ".py")).exists()}
    assert missing - {"benchmarks.NAME"} == set()


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_example_of_a_page_is_a_configuration(page: Path) -> None:
    variables = {"GATE_PASSWORD": "canary", "STORE_PASSWORD": "canary"}
    for example in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S):
        text = example.replace("password_file: /run/secrets/lobby", 'password: "canary"')
        assert loading.parse_config(text, origin=page.name, environment=variables)
