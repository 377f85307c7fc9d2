"""Benchmarks run as their command lines do, in this process: a new one imports torch for four seconds first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest


@dataclass(frozen=True, slots=True)
class Ended:
    """What a benchmark's command line printed, and its exit code."""

    code: int
    out: str
    err: str


RunBenchmark = Callable[..., Ended]


@pytest.fixture
def run_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunBenchmark:
    """Runs `main` of a benchmark's module with these arguments."""

    def run(module: ModuleType, *arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", [module.__name__, *map(str, arguments)])
        code = 0
        try:
            module.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        return Ended(code, *capsys.readouterr())

    return run
