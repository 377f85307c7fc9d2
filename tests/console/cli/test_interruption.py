"""Ctrl-C where nothing has to be ended in order ends the process at once, with code 130 and without a message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from console.cli import interruption

ROOT = Path(__file__).parents[3]
ENTRY = ("-m", "console.cli.main")
# A module that is imported until its standard input ends.
ENDLESS_MODULE = "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n"
# An exception that is raised in `__del__` is ignored.
HOLDING = """
import sys

class Holding:
    def __del__(self):
        print("ready", flush=True)
        sys.stdin.read()
"""
BLOCK = f"{HOLDING}\nfrom console.cli import interruption\nwith interruption.ending_at_once():\n    Holding()\n"
DOCTOR = f"""{HOLDING}
import types
import actors
from console.cli import main

def examine(settings):
    Holding()
    yield from ()

actors.doctor = sys.modules["actors.doctor"] = types.ModuleType("actors.doctor")
actors.doctor.examine = examine
sys.argv = ["hermes", "doctor"]
main.main()
"""


@pytest.fixture(autouse=True)
def _as_at_a_terminal() -> Iterator[None]:
    """A job that a shell starts in the background ignores SIGINT, and its programs do too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a program that gets SIGINT once it is ready, and then the end of its input."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        out, errors = process.communicate()
    return process.returncode, out, errors


def test_what_the_terminal_shows_is_put_right_before_the_end() -> None:
    shown = BLOCK.replace("at_once()", "at_once(lambda: print('cursor', flush=True))")

    assert interrupted("-c", shown) == (130, "cursor\n", "")


@pytest.mark.parametrize(
    ("script", "shown"), [(BLOCK, ""), (DOCTOR, "loading PyTorch and Ray …\n")], ids=["block", "doctor"]
)
def test_a_signal_whose_exception_would_be_lost_ends_the_process(script: str, shown: str) -> None:
    assert interrupted("-c", script) == (130, "", shown)


@pytest.mark.parametrize(
    ("modules", "arguments"),
    [
        (["typer"], ["--help"]),
        (["ray", "torch"], ["demo", "--port", "0"]),
        (["ray", "torch"], ["serve", "--config", "hermes.yaml"]),
        (["ray", "torch"], ["doctor"]),
        (["torch"], ["doctor", "--gpu"]),
    ],
)
def test_a_signal_during_an_import_prints_no_traceback(
    modules: list[str], arguments: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "hermes.yaml"
    config.write_text(f"router: {{port: 0}}\nstore: embedded:{tmp_path / 'store'}\n")
    for module in modules:
        (tmp_path / f"{module}.py").write_text(ENDLESS_MODULE)
    arguments = [str(config) if argument == config.name else argument for argument in arguments]

    code, out, errors = interrupted(*ENTRY, *arguments, environment={"PYTHONPATH": str(tmp_path)})

    assert (code, out) == (130, "")
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors


def test_a_signal_that_an_older_thread_gets_ends_the_process() -> None:
    script = """
import signal, threading
from console.cli import interruption
never = threading.Event()
older = threading.Thread(target=never.wait, daemon=True)
older.start()
with interruption.ending_at_once():
    signal.pthread_kill(older.ident, signal.SIGINT)
    while True:  # a handler runs between two steps of the main thread
        pass
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (130, "")


def test_a_signal_at_the_end_of_the_block_is_not_lost() -> None:
    script = """
import os, signal, threading
from console.cli import interruption

def come_first(*_):
    os.kill(os.getpid(), signal.SIGINT)
    waiting, = (thread for thread in threading.enumerate() if thread.name == "Ctrl-C")
    waiting.join()

signal.pthread_kill = come_first
with interruption.ending_at_once():
    pass
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (130, "")


def test_after_the_block_a_signal_does_what_it_did_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with interruption.ending_at_once(), interruption.ending_at_once():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert "Ctrl-C" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_job_of_the_background_goes_on_ignoring_the_signal() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.ending_at_once():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_the_block_runs_as_it_is() -> None:
    masks = []

    def run() -> None:
        with interruption.ending_at_once():
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert masks == [signal.pthread_sigmask(signal.SIG_BLOCK, ())]
