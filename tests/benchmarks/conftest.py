"""Benchmarks run as their command lines do, in this process: a new one imports torch for four seconds first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmarks import recordings


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streets, under the names that each benchmark has for them, and the annotations of all."""
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(("first", "second"), 1):
        recordings.film(recordings.street(seed), folder / "streets" / f"{name}.mp4")
        (folder / f"{name}.mp4").symlink_to(folder / "streets" / f"{name}.mp4")
        (folder / f"sample_{seed}").mkdir()
        (folder / f"sample_{seed}" / "video.mp4").symlink_to(folder / "streets" / f"{name}.mp4")
    recordings.write(folder / "ovo_bench_new.json", recordings.ovo_items())
    recordings.write(folder / "questions_real.json", recordings.streaming_bench_items())
    recordings.write(folder / "ego4d_oe.json", recordings.rvs_items())
    return folder
