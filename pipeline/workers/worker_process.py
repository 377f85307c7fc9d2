"""A shard's side of one ingest worker: starts its process, sends orders, reads reports, ends it. Never blocks long."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

import pipeline
from pipeline.workers import crash_report, framing, messages
from pipeline.workers.confinement import MAX_MEMORY_NBYTES, MAX_STDERR_NBYTES
from pipeline.workers.errors import WorkerUnreachable
from pipeline.workers.framing import FrameReader
from pipeline.workers.liveness import Activity
from pipeline.workers.messages import MAX_BODY_NBYTES, MAX_HEADER_NBYTES, Begin, Order, Report

log = structlog.get_logger(__name__)

MAX_UNSENT_NBYTES = 256 << 20  # images of 64 cameras, which were decoded for it at the same moment
_CHUNK_NBYTES = 1 << 18
_MAX_CHUNKS = 16  # of one worker, before the others have their turn
_EXIT_S = 0.5  # from the end of its channel to that of the process
_REAP_S = 5.0  # until the kernel has ended a process that was killed
_MAX_LINE = 1_000  # characters
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_WANTS_CPU, _TIMES = frozenset("RD"), slice(11, 13)  # states of a thread; where user and system time stand
# What a worker needs to start and to speak TLS. Everything else of the environment stays with the shard.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


class WorkerProcess:
    """One worker. Belongs to the thread that started it: the worker ends with that thread."""

    def __init__(self, folders: Sequence[Path], memory_nbytes: int = MAX_MEMORY_NBYTES) -> None:
        """folders: those below which it may read. memory_nbytes: the most that it may have. Raises OSError."""
        self.crashed_camera: int | None = None
        self._unsent = bytearray()
        self._has_closed = False
        self._reader = FrameReader(MAX_HEADER_NBYTES, MAX_BODY_NBYTES)
        self._channel, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as files:
            files.enter_context(self._channel)
            self._channel.setblocking(False)
            self._stderr, self._crashes = (_file_in_memory(files, name) for name in ("stderr", "crashes"))
            numbers = map(str, (theirs.fileno(), self._crashes, os.getpid(), memory_nbytes))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.workers.worker", *numbers],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(), self._crashes),
                process_group=0,  # Ctrl-C at a terminal is for the shard
            )
            self._files = files.pop_all()
        self.pid = self._process.pid
        with contextlib.suppress(WorkerUnreachable):  # it has ended: the next order or read says so
            self.send(Begin(folders=tuple(folders)))

    def fileno(self) -> int:
        return self._channel.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits until the worker takes it."""
        return bool(self._unsent)

    def send(self, order: Order, *body: memoryview) -> None:
        """Sends an order as far as the worker takes it now. Raises WorkerUnreachable."""
        self._unsent += framing.frame(messages.encode(order), *body)
        self.flush()
        if len(self._unsent) > MAX_UNSENT_NBYTES:
            raise WorkerUnreachable(f"it took none of the last {len(self._unsent)} bytes")

    def flush(self) -> bool:
        """Sends more of what waits; whether nothing waits any more. Raises WorkerUnreachable."""
        try:
            while self._unsent:
                del self._unsent[: self._channel.send(self._unsent)]
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._closed(error.strerror or type(error).__name__) from error
        return True

    def receive(self) -> Iterator[tuple[Report, bytearray]]:
        """What it has said and was not read yet, or a part of it. Raises WorkerUnreachable, MalformedMessage."""
        self.flush()
        for _ in range(_MAX_CHUNKS):
            try:
                data = self._channel.recv(_CHUNK_NBYTES)
            except BlockingIOError:
                return
            except OSError as error:
                raise self._closed(error.strerror or type(error).__name__) from error
            if not data:
                raise self._closed("it closed its channel")
            for header, body in self._reader.feed(data):
                yield messages.parse_report(header, body), body

    def activity(self) -> Activity:
        """What its threads do now."""
        tasks = [_stat(path) for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        ticks = sum(map(int, _stat(Path(f"/proc/{self.pid}/stat"))[_TIMES]))
        return Activity(ticks / _TICKS_PER_S, wants_cpu=any(fields[0] in _WANTS_CPU for fields in tasks))

    def end(self) -> str:
        """Kills it and frees what it had here; how it ended, in words."""
        if self._has_closed:  # it ends by itself, and its exit status says why
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)
        is_killed = self._process.poll() is None
        self._process.kill()
        try:
            code = self._process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            log.error("ingest_worker_not_ended", pid=self.pid)
            code = None
        last_line, self.crashed_camera = self._last_line(), crash_report.read(self._crashes)
        self._files.close()
        if is_killed or code is None:
            return last_line
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        return f"{how}; {last_line}" if last_line else how

    def _closed(self, reason: str) -> WorkerUnreachable:
        self._has_closed = True
        return WorkerUnreachable(reason)

    def _last_line(self) -> str:
        """The last line that it wrote to standard error: of a Python error, the error."""
        text = os.pread(self._stderr, MAX_STDERR_NBYTES, 0).decode(errors="replace").strip()
        return text.rpartition("\n")[2][-_MAX_LINE:]


def _file_in_memory(files: contextlib.ExitStack, name: str) -> int:
    """The descriptor of a new file without a path, which is closed with `files`."""
    descriptor = os.memfd_create(f"ingest-worker-{name}")
    files.callback(os.close, descriptor)
    return descriptor


def _stat(path: Path) -> list[str]:
    """The fields of a process or thread behind its name; those of one that has ended say that it does nothing."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", *"0" * 20]


def _signal_name(number: int) -> str:
    """A worker may also end by a real-time signal, which has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _environment() -> dict[str, str]:
    root = Path(pipeline.__file__).resolve().parents[1]
    paths = dict.fromkeys((str(root), *filter(None, sys.path)))  # the worker imports what its shard imports
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "4"}
    return passed_on | threads | {"PYTHONPATH": os.pathsep.join(paths)}
