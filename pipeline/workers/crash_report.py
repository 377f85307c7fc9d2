"""On which camera's thread a worker crashed, so that the others need not be suspected.

The worker writes to a file in memory, which its shard reads when it has ended. Whoever took over a decoder may write
anything there: all that he reaches is that a camera of his worker gets a worker to itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re

_MAX_NBYTES = 64 << 10
_THREAD = re.compile(r"^camera (\d{1,18}) has thread 0x([0-9a-f]{16})$", re.MULTILINE)
_CRASHED = re.compile(r"^Current thread 0x([0-9a-f]{16}) ", re.MULTILINE)  # as Python writes it
_BLAMED = re.compile(r"^camera (\d{1,18}) does not come back$", re.MULTILINE)


class CrashReport:
    """What a worker writes."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: the file, open for writing at its end."""
        self._descriptor = descriptor

    def report_faults(self) -> None:
        """Has Python report the thread on which a fault ends this process: SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL."""
        faulthandler.enable(self._descriptor)

    def note_thread(self, camera: int, thread: int) -> None:
        """Says that this thread (its `threading.get_ident`) decodes a camera."""
        self._write(f"camera {camera} has thread {thread:#018x}\n")

    def blame(self, camera: int) -> None:
        """Says that the worker ends because this camera's thread is caught in a library."""
        self._write(f"camera {camera} does not come back\n")

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full file: then all cameras are suspected
            os.write(self._descriptor, line.encode())


def read(descriptor: int) -> int | None:
    """The camera on whose thread the worker ended, None if that is not known."""
    text = os.pread(descriptor, _MAX_NBYTES, 0).decode(errors="replace")
    if blamed := _BLAMED.search(text):
        return int(blamed[1])
    cameras = {thread: int(camera) for camera, thread in _THREAD.findall(text)}
    crashed = _CRASHED.search(text)
    return cameras.get(crashed[1]) if crashed else None
