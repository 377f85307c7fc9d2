"""A worker that is started before it is needed: the cameras of one that ends go on without waiting for a start."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.workers.errors import WorkerError
from pipeline.workers.worker_cameras import Folders, WorkerCameras

QUIET_S = 2.0  # cameras that connect need the cores more than a spare does


class SpareWorker:
    """At most one worker without cameras. Nothing that it says is read before it is taken."""

    def __init__(self, start: Callable[[], WorkerCameras], end: Callable[[WorkerCameras], object]) -> None:
        """start: starts a worker; may raise OSError. end: ends one."""
        self._start, self._end = start, end
        self._worker: WorkerCameras | None = None
        self._due_s = -math.inf

    def take(self, folders: Folders, now_s: float) -> WorkerCameras | None:
        """The spare, if it may read these folders and has not ended. Another one is started QUIET_S later."""
        worker, self._worker, self._due_s = self._worker, None, now_s + QUIET_S
        if worker is None:
            return None
        try:
            worker.read(now_s)
        except WorkerError:
            is_usable = False
        else:
            is_usable = worker.folders >= folders
        if is_usable:
            return worker
        self._end(worker)
        return None

    def tick(self, now_s: float) -> None:
        """Starts a spare if one is due. One that does not start is tried again."""
        if self._worker is None and now_s >= self._due_s:
            self._due_s = now_s + QUIET_S
            try:
                self._worker = self._start()
            except OSError:
                return

    def end(self) -> None:
        """Ends the spare, if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._end(worker)
