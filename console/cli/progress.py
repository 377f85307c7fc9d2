"""Shows what a slow command waits for: one line that changes on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console


class Progress:
    """A context manager: progress is shown for the time of the block, or until `stop`."""

    def __init__(self, err: Console, *, started_at_s: float | None = None) -> None:
        """`started_at_s`: the monotonic time from which the seconds are counted, by default now."""
        self._err = err
        self._status = err.status("")
        self._started_at_s = time.monotonic() if started_at_s is None else started_at_s
        self._message = ""

    def __enter__(self) -> Self:
        if self._err.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def show(self, message: str) -> None:
        """Replaces the message; elsewhere than on a terminal, prints it with the seconds since the start."""
        if self._err.is_terminal:
            self._status.update(message)
            self._status.start()
        elif message != self._message:
            self._err.print(f"{time.monotonic() - self._started_at_s:5.1f} s  {message}", markup=False)
        self._message = message

    def stop(self) -> None:
        """Removes the line from a terminal; `show` brings it back."""
        self._status.stop()
