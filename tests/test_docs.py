"""README and docs name only what exists: files, links, packages, make targets, modules and configuration keys, and
commands with options that they have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from actors.config import loading
from console.cli import commands, plan

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("ops", "cache_store", "models", "pipeline", "actors", "protos", "console", "benchmarks", "tests", "docs")
PATH = re.compile(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def commands_in(text: str) -> Iterator[list[str]]:
    """The words after `hermes` of each command in a text of the shell."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|[|;>]", re.sub(r"(^|\s)#.*", "", line)):
            words = shlex.split(command)
            if words and words[0] in ("hermes", ".venv/bin/hermes"):
                yield ["1" if word in ("INDEX", "N", "A", "B") else word for word in words[1:]]


def subcommand(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and the words behind its name. Raises KeyError where there is none."""
    command: Any = typer.main.get_command(commands.app)
    while isinstance(command, TyperGroup) and words:
        name, *words = words
        command = typer.main.get_command(plan.app) if name == "plan" else command.commands[name]
    return command, words


def parse(words: list[str]) -> None:
    """Reads a command as the command line does, and does not run it. Raises what the command line would say."""
    command, rest = subcommand(words)
    command.make_context("hermes", rest)


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


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^):#]*)#([^)]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.+)$", (page.parent / target if target else page).read_text(), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_table_of_a_page_has_a_heading(page: Path) -> None:
    """Without the line of dashes below its first row a table is shown as text."""
    for table in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.M):
        assert re.fullmatch(r"[|: -]+", table.splitlines()[1]), table


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


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_command_of_a_page_is_one_that_can_be_typed(page: Path) -> None:
    text = page.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"^    (hermes .*)$", text, re.M)
    for words in commands_in("\n".join(blocks)):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_option_in_a_sentence_of_a_page_is_one_of_its_command(page: Path) -> None:
    """A sentence may leave out what the command needs, as in `hermes serve`."""
    for text in re.findall(r"`((?:\.venv/bin/)?hermes [a-z-][^`]*)`", page.read_text()):
        for words in commands_in(text.replace("\n", " ")):
            command, rest = subcommand(words)
            options = {option for one in command.params for option in (*one.opts, *one.secondary_opts, "--help")}
            assert {word for word in rest if word.startswith("-")} <= options, text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hermes camera list", "'camera'"),
        ("hermes cameras add street --url sim:street", "No such option: --url"),
        ("cd x && hermes ask 'what is it' --al   # it's", "No such option: --al"),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        parse(*commands_in(text))
