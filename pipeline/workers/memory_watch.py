"""Ends a worker that has used its memory up, so that its shard finds the camera that did it.

Otherwise all cameras of the worker would get errors at random for as long as the guilty one stays.
"""

from __future__ import annotations

import os
import resource

USED_UP = 0.95  # of the limit: the rest is for one large image

_DATA = 5  # field of /proc/self/statm: pages of data and stacks, which is what the limit counts


class MemoryWatch:
    """Of this process. Made before its files are closed to it."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def end_if_used_up(self) -> None:
        """Ends the process, with a line on standard error, if hardly any memory is left below its limit."""
        limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
        used = int(os.pread(self._statm, 200, 0).split()[_DATA]) * resource.getpagesize()
        if limit != resource.RLIM_INFINITY and used >= USED_UP * limit:
            os.write(2, f"out of memory: {used >> 20} MiB of {limit >> 20}".encode())
            os._exit(1)
