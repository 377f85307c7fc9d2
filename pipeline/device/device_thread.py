"""The one thread of a device, with its queues of commands and of background work. Knows neither models nor cameras."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from cache_store.errors import StoreError
from pipeline.answers import AnswerFailed, QuestionError
from pipeline.cameras import CameraError

T = TypeVar("T")

_BUSY_WINDOW_S = 10.0
_IDLE_WAIT_S = 1.0


class DeviceThread:
    """Runs commands as soon as the job at hand is done, else one job at a time. Any thread may call it.

    run_job: does the most urgent job and returns False if there is none; it may call `run_background_job`.
    on_stop: called on the thread when it ends, also after an unexpected error, before the queues are drained.
    """

    def __init__(self, run_job: Callable[[], bool], on_stop: Callable[[], None]) -> None:
        self.busy_share = 0.0  # of the thread's time, over the last seconds
        self._run_job = run_job
        self._on_stop = on_stop
        self._has_news = threading.Event()
        self._commands: deque[Callable[[], None]] = deque()
        self._background: deque[Callable[[], None]] = deque()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    @property
    def is_running(self) -> bool:
        """False before `start`, after `close`, and after an unexpected error."""
        return self._thread.is_alive() and not self._is_closing

    @property
    def has_background_job(self) -> bool:
        """Whether background work is queued."""
        return bool(self._background)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops after the job at hand. Blocks until the thread has ended."""
        self._is_closing = True
        self.wake()
        self._thread.join()

    def wake(self) -> None:
        """Says that there may be a job."""
        self._has_news.set()

    def command(self, work: Callable[[], T]) -> Future[T]:
        """Queues work that runs before the next job.

        The future fails with the work's CameraError, QuestionError or StoreError, or with AnswerFailed if the device
        is closing. Any other error ends the thread.
        """
        return self._queue(self._commands, work)

    def background(self, work: Callable[[], T]) -> Future[T]:
        """Queues work that runs when `run_job` calls `run_background_job`; fails as `command` does."""
        return self._queue(self._background, work)

    def run_background_job(self) -> None:
        """Runs the oldest background work. On the device thread only."""
        self._background.popleft()()

    def _queue(self, queue: deque[Callable[[], None]], work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except (CameraError, QuestionError, StoreError) as error:
                future.set_exception(error)

        if self._is_closing:
            future.set_exception(AnswerFailed("device: closing"))
        else:
            queue.append(run)
            self.wake()
        return future

    def _run(self) -> None:
        window_start_s, idle_s = time.monotonic(), 0.0
        try:
            while not self._is_closing:
                while self._commands:
                    self._commands.popleft()()
                if not self._run_job():
                    idle_from_s = time.monotonic()
                    self._has_news.wait(timeout=_IDLE_WAIT_S)
                    idle_s += time.monotonic() - idle_from_s
                self._has_news.clear()
                if (window_s := time.monotonic() - window_start_s) > _BUSY_WINDOW_S:
                    self.busy_share = 1.0 - idle_s / window_s
                    window_start_s, idle_s = time.monotonic(), 0.0
        finally:
            # Also after an unexpected error: every caller that waits must get an answer.
            self._is_closing = True
            self._on_stop()
            for queue in (self._commands, self._background):
                while queue:
                    queue.popleft()()
