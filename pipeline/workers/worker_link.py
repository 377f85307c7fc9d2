"""The seam between a worker's process and the policy that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pipeline.workers.liveness import Activity
from pipeline.workers.messages import Order, Report


class WorkerLink(Protocol):
    """A worker's process: a WorkerProcess."""

    pid: int
    crashed_camera: int | None  # after `end`: the one on whose thread it crashed, if that is known

    @property
    def has_unsent(self) -> bool: ...

    def fileno(self) -> int: ...

    def send(self, order: Order, *body: memoryview) -> None: ...

    def receive(self) -> Iterator[tuple[Report, bytearray]]: ...

    def activity(self) -> Activity: ...

    def end(self) -> str: ...
