"""A process that does nothing until it is killed, and whether a process still runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def idle() -> Iterator[subprocess.Popen[bytes]]:
    """Runs during the block, unless it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. Whoever takes up the children of a killed process may reap them a moment after their end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has ended since
        return False
