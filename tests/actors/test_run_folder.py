"""The folder of a run goes with its run, with the processes that use it, however the run ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from actors import run_folder
from tests.actors.processes import is_alive

ROOT = Path(__file__).parents[2]
# A run with a process of its own, which writes into the folder and ignores SIGTERM. Prints folder, pid and watcher.
OWNER = """
import subprocess, sys
import psutil
from actors import run_folder
from tests.actors.processes import is_alive
with run_folder.running() as folder:
    watcher = psutil.Process().children()[0].pid
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    user = subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE, stderr=(folder / "log").open("w"))
    user.stdout.readline()
    print(folder, user.pid, watcher, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Run:
    owner: subprocess.Popen[str]
    folder: Path
    user: psutil.Process
    watcher: psutil.Process


@pytest.fixture(autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of this file do not see those of other tests."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield


@contextmanager
def another_run() -> Iterator[Run]:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder, user, watcher = owner.stdout.readline().split()
        try:
            yield Run(owner, Path(folder), psutil.Process(int(user)), psutil.Process(int(watcher)))
        finally:
            owner.kill()


def test_only_this_user_can_open_it_and_it_goes_at_the_end() -> None:
    with run_folder.running() as folder:
        (folder / "file").write_text("")
        mode = folder.stat().st_mode & 0o777

    assert mode == 0o700
    assert not folder.exists()


def test_the_watcher_clears_the_folder_of_a_killed_owner() -> None:
    with another_run() as run:
        run.owner.kill()
        run.watcher.wait(timeout=60)

    assert not run.folder.exists()
    assert not is_alive(run.user)


def test_the_next_run_clears_the_folder_of_an_owner_that_was_killed_with_its_watcher() -> None:
    with another_run() as run:
        run.watcher.send_signal(signal.SIGKILL)
        run.owner.kill()
        run.owner.wait()
        assert run.folder.exists()

        with run_folder.running() as folder:
            assert folder.exists()
            assert not run.folder.exists()
            assert not is_alive(run.user)


def test_the_folder_of_a_running_owner_stays() -> None:
    with another_run() as run, run_folder.running():
        assert (run.folder / "log").exists()
        assert run.user.is_running()


def test_a_normal_end_leaves_no_watcher() -> None:
    before = psutil.Process().children()

    with run_folder.running():
        (watcher,) = (one for one in psutil.Process().children() if one not in before)

    assert watcher not in psutil.Process().children()


def test_a_long_folder_of_temporary_files_leaves_room_for_the_paths_of_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of Ray are 88 characters longer, and the system takes 107."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)

    with run_folder.running() as folder, socket.socket(socket.AF_UNIX) as end:
        (folder / ("y" * 60)).mkdir()
        end.bind(str(folder / ("y" * 60) / ("z" * 15)))


def test_a_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")

    with pytest.raises(OSError, match="'/proc/hermes-run-"), run_folder.running():
        pass
