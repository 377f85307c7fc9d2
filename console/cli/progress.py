"""What is being waited for: one line that changes on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console


class Progress:
    """Shown for the time of the block, or until it is stopped."""

    def __init__(self, err: Console) -> None:
        self._err = err
        self._status = err.status("")
        self._began_at = time.monotonic()
        self._told = ""

    def __enter__(self) -> Self:
        if self._err.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tell(self, progress: str) -> None:
        """Shows what is being waited for now."""
        if self._err.is_terminal:
            self._status.update(progress)
        elif progress != self._told:
            self._err.print(f"{time.monotonic() - self._began_at:5.1f} s  {progress}", markup=False)
        self._told = progress

    def stop(self) -> None:
        """There is nothing to wait for any more."""
        self._status.stop()
