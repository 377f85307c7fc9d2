"""Bounds how long the network is waited for: until a deadline that can be restarted, or until a stop request."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable

_POLL_S = 0.2  # how often a wait checks for a stop request


class Deadline:
    """A deadline `limit_s` from now. Belongs to one thread; `is_stopped` may change in any thread."""

    def __init__(self, limit_s: float, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped
        self.restart(limit_s)

    def restart(self, limit_s: float) -> None:
        """Sets the deadline to `limit_s` from now."""
        self.limit_s = limit_s
        self._deadline_s = time.monotonic() + limit_s

    @property
    def is_expired(self) -> bool:
        """Whether the deadline has passed or a stop was requested."""
        return self.next_wait_s() <= 0

    def next_wait_s(self) -> float:
        """How long to block before checking again; 0 once expired."""
        return 0.0 if self._is_stopped() else max(0.0, min(_POLL_S, self._deadline_s - time.monotonic()))


class DeadlineSocket(io.RawIOBase):
    """A connected socket as a byte stream. Reads block until data or the deadline. Raises TimeoutError, OSError."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        super().__init__()
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while (wait_s := self._deadline.next_wait_s()) > 0:
            self._connection.settimeout(wait_s)
            try:
                return self._connection.recv_into(buffer)
            except TimeoutError:
                continue
        raise TimeoutError

    def sendall(self, data: bytes) -> None:
        """Sends all of `data`. Blocks for at most the deadline's limit. Raises TimeoutError, OSError."""
        self._connection.settimeout(self._deadline.limit_s)
        self._connection.sendall(data)

    def close(self) -> None:
        self._connection.close()
        super().close()
