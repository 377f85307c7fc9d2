"""A folder for what one run leaves in the file system while it runs; nothing of it stays, however the run ends.

The owner holds a lock on the folder. A small watcher process waits for the owner's end: of an owner that was killed it
ends the processes that still use the folder, then deletes the folder. If the watcher was killed too, the next run that
starts does so. Runs as a program of its own, so it imports nothing of hermes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_PREFIX = "hermes-run-"
_GRACE_S = 2.0
_TRIES = 5
# The path of a Unix socket has at most 107 bytes, and those of Ray's sockets are 88 bytes longer than this one.
_MAX_PARENT_LENGTH = 19


@contextmanager
def running() -> Iterator[Path]:
    """A new folder that only this user can open. What processes leave in it goes at the end of the block with it."""
    _clear_abandoned()
    folder, lock = _created()
    watcher = subprocess.Popen(
        [sys.executable, "-I", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},  # it lives as long as the run, and needs none of its secrets
        start_new_session=True,  # Ctrl-C and the end of a terminal must not reach it
    )
    try:
        yield folder
    finally:
        _clear(folder)
        os.close(lock)
        watcher.communicate()  # it ends when its input does and the folder is gone


def _created() -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    parent = tempfile.gettempdir()
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent if len(parent) <= _MAX_PARENT_LENGTH else "/tmp"))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # another run that started at this moment may have found it without a lock
            return folder, lock
        os.close(lock)
    raise OSError(f"{folder}: other runs deleted {_TRIES} new folders")


def _clear_abandoned() -> None:
    """Deletes the folders of this user whose owner and watcher were killed."""
    for parent in {tempfile.gettempdir(), "/tmp"}:
        for folder in Path(parent).glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                if folder.lstat().st_uid == os.geteuid():
                    _clear_if_abandoned(folder, fcntl.LOCK_NB)


def _clear_if_abandoned(folder: Path, wait: int) -> None:
    """Clears a folder when its lock is free. `wait`: LOCK_NB not to wait for that. Raises OSError."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | wait)
        _clear(folder)
    finally:
        os.close(lock)


def _clear(folder: Path) -> None:
    """Ends the processes that use the folder, then deletes it."""
    users = [process for process in psutil.process_iter() if process.pid != os.getpid() and _uses(process, folder)]
    for process in users:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(users, timeout=_GRACE_S)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(users, timeout=_GRACE_S)
    shutil.rmtree(folder, ignore_errors=True)


def _uses(process: psutil.Process, folder: Path) -> bool:
    """Whether a process of this user has a file or a socket of the folder open."""
    try:
        if process.uids().effective != os.geteuid():
            return False
        files = [file.path for file in process.open_files()]
        sockets = [str(connection.laddr) for connection in process.net_connections("unix")]
    except (psutil.Error, OSError):
        return False
    return any(path.startswith(f"{folder}/") for path in (*files, *sockets))


def _watch(folder: Path) -> None:
    """Waits for the end of the owner, then clears the folder unless the owner did."""
    sys.stdin.buffer.read()
    with contextlib.suppress(FileNotFoundError):
        _clear_if_abandoned(folder, 0)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
