"""The one thread of a device, with its queues of commands and of background work. Knows neither models nor cameras."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from cache_store.errors import StoreError
from pipeline.answers import QuestionError
from pipeline.cameras import CameraError, CameraFailed
from pipeline.device import job_guard
from pipeline.device.failure_report import FailureReport

T = TypeVar("T")
Deliver = Callable[[Future[T], T], None]

_BUSY_WINDOW_S = 10.0
_IDLE_WAIT_S = 1.0
STOPPED = "the device has stopped"  # the reason of what fails then


@dataclass(frozen=True, slots=True)
class Job:
    """One unit of the device's work. what: names it in the log and in errors.

    fail: called with the error that ended `run`; it ends what waits for the job, and it must not raise.
    about: fields of the report of its failure, e.g. camera and answer_id.
    """

    what: str
    run: Callable[[], None]
    fail: Callable[[Exception], None]
    about: Mapping[str, str] = field(default_factory=dict)


class DeviceThread:
    """Runs commands as soon as the job at hand is done, else one job at a time. Any thread may call it.

    An error ends the job that raised it, never the thread. The exception is torch.AcceleratorError: after it the
    process can run nothing more on its GPU.

    next_job: the most urgent job, None if there is none; it may return `next_background_job`. If it raises, it is
    called again after a command, a `wake` or a second. on_stop: called on the thread when it ends, before what is
    queued fails; it must not raise.
    """

    def __init__(
        self, next_job: Callable[[], Job | None], on_stop: Callable[[], None], *, report: FailureReport
    ) -> None:
        self.busy_share = 0.0  # of the thread's time, over the last seconds
        self._next_job = next_job
        self._on_stop = on_stop
        self._report = report
        self._has_news = threading.Event()
        self._lock = threading.Lock()  # held to queue a job, and to refuse all further ones
        self._commands: deque[Job] = deque()
        self._background: deque[Job] = deque()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    @property
    def is_running(self) -> bool:
        """False before `start`, after `close`, and once the GPU is lost."""
        return self._thread.is_alive() and not self._is_closing

    @property
    def has_command(self) -> bool:
        """Whether a command is queued."""
        return bool(self._commands)

    @property
    def has_background_job(self) -> bool:
        """Whether background work is queued."""
        return bool(self._background)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops after the job at hand; what is queued fails with CameraFailed. Blocks until the thread has ended."""
        self._is_closing = True
        self.wake()
        self._thread.join()

    def wake(self) -> None:
        """Says that there may be a job."""
        self._has_news.set()

    def command(self, what: str, work: Callable[[], T], deliver: Deliver[T] | None = None) -> Future[T]:
        """Queues work that runs before the next job.

        deliver: called with the running future and the work's result, to complete it now or later, on any thread; it is
        completed at once unless given. The future fails with the work's CameraError, QuestionError or StoreError, and
        with CameraFailed after any other error of the work and if the device has stopped.
        """
        return self._queue(self._commands, what, work, deliver)

    def background(self, what: str, work: Callable[[], T], deliver: Deliver[T] | None = None) -> Future[T]:
        """Queues work that runs when `next_job` returns it; delivers and fails as `command` does."""
        return self._queue(self._background, what, work, deliver)

    def next_background_job(self) -> Job:
        """Takes the oldest background work. On the device thread only."""
        return self._background.popleft()

    def _queue(self, queue: deque[Job], what: str, work: Callable[[], T], deliver: Deliver[T] | None) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                (deliver or Future.set_result)(future, work())
            except (CameraError, QuestionError, StoreError) as error:
                future.set_exception(error)

        def fail(error: Exception) -> None:
            # One step with the question whether it was cancelled: the caller may cancel it at any moment.
            if future.running() or future.set_running_or_notify_cancel():
                future.set_exception(error)

        with self._lock:
            if self._is_closing:
                fail(CameraFailed(f"{what}: {STOPPED}"))
            else:
                queue.append(Job(what, run, fail))
        self.wake()
        return future

    def _run(self) -> None:
        window_start_s, idle_s = time.monotonic(), 0.0
        try:
            while not self._is_closing:
                job = self._choose()
                if job is not None:
                    self._run_job(job)
                else:
                    idle_from_s = time.monotonic()
                    self._has_news.wait(timeout=_IDLE_WAIT_S)
                    idle_s += time.monotonic() - idle_from_s
                    self._has_news.clear()
                if (window_s := time.monotonic() - window_start_s) > _BUSY_WINDOW_S:
                    self.busy_share = 1.0 - idle_s / window_s
                    window_start_s, idle_s = time.monotonic(), 0.0
        finally:
            self._stop()

    def _choose(self) -> Job | None:
        """The job to run now. An error of `next_job` is reported; the thread then waits as if there were none."""
        with job_guard.ends_with(self._report_choice):
            return self._commands.popleft() if self._commands else self._next_job()
        return None

    def _report_choice(self, error: Exception) -> None:
        self._report("device_job_not_chosen", reason=repr(error), traceback=traceback.format_exc())

    def _run_job(self, job: Job) -> None:
        """Runs a job. Its failure is reported and ends what waits for it, and nothing else."""
        try:
            job.run()
        except Exception as error:
            trace = traceback.format_exc()
            self._report("device_job_failed", job=job.what, reason=repr(error), traceback=trace, **job.about)
            failure = CameraFailed(f"{job.what}: the device failed: {type(error).__name__}")
            failure.__cause__ = error
            job.fail(failure)
            if isinstance(error, torch.AcceleratorError):
                raise

    def _stop(self) -> None:
        """Every caller that waits gets an answer, and no caller can begin to wait."""
        with self._lock:
            self._is_closing = True
        self._on_stop()
        for queue in (self._commands, self._background):
            while queue:
                job = queue.popleft()
                job.fail(CameraFailed(f"{job.what}: {STOPPED}"))
