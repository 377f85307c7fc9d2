"""What `hermes doctor` prints of each check."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from actors import doctor as checks
from actors.config.schema import HermesConfig
from console.cli import doctor
from console.cli.terminal import FAILURE
from tests.console.running import run_here


def test_each_line_of_a_finding_stands_below_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(_: HermesConfig) -> Iterator[checks.Finding]:
        yield checks.Finding("model", False, "not on this machine\nrun `hf download`")

    monkeypatch.setattr(checks, "examine", examine)
    out = io.StringIO()

    code = doctor.examine(None, Console(file=out, width=80), as_json=False)

    first, second = out.getvalue().splitlines()
    assert code == FAILURE
    assert first.index("not on") == second.index("run")


def test_a_configuration_that_the_examination_of_a_gpu_does_not_read_is_a_mistake() -> None:
    ended = run_here("doctor", "--gpu", "--config", "hermes.yaml")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --gpu: it reads no configuration; leave --config out\n"
