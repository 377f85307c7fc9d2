"""How long a network is waited for: until a deadline that each success puts off, and no longer once told to stop."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.2  # whether to stop


class Deadline:
    """A deadline `limit_s` from now. One thread waits by it; `is_stopped` may be set by any."""

    def __init__(self, limit_s: float, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped
        self.restart(limit_s)

    def restart(self, limit_s: float) -> None:
        """From now on `limit_s` are left."""
        self.limit_s = limit_s
        self._deadline_s = time.monotonic() + limit_s

    @property
    def is_expired(self) -> bool:
        """Whether nothing is waited for any more."""
        return self.next_wait_s() <= 0

    def next_wait_s(self) -> float:
        """How long to wait before asking again; 0 when it is over."""
        return 0.0 if self._is_stopped() else max(0.0, min(_LOOK_EVERY_S, self._deadline_s - time.monotonic()))


class DeadlineSocket(io.RawIOBase):
    """A connected socket as a stream of bytes that waits as patiently as it is told. Raises TimeoutError, OSError."""

    def __init__(self, connection: socket.socket, patience: Deadline) -> None:
        super().__init__()
        self._connection, self._patience = connection, patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while (wait_s := self._patience.next_wait_s()) > 0:
            self._connection.settimeout(wait_s)
            try:
                return self._connection.recv_into(buffer)
            except TimeoutError:
                continue
        raise TimeoutError

    def sendall(self, data: bytes) -> None:
        """Sends all of it."""
        self._connection.settimeout(self._patience.limit_s)
        self._connection.sendall(data)

    def close(self) -> None:
        self._connection.close()
        super().close()
