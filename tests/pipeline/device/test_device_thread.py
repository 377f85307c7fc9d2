"""The thread of a device: commands first, background work when its turn comes, and an answer for every caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import torch

from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraFailed
from pipeline.device.device_thread import DeviceThread, Job
from pipeline.device.failure_report import to_logging

TIMEOUT_S = 30.0


class Jobs:
    """A thread whose only job is background work; the first job waits for `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.is_stopped = threading.Event(), threading.Event()
        self.thread = DeviceThread(self._next_job, on_stop=self.is_stopped.set, report=to_logging)
        self.done: list[str] = []

    def background(self, name: str) -> Future[None]:
        return self.thread.background(name, lambda: self.done.append(name))

    def command(self, name: str) -> Future[None]:
        return self.thread.command(name, lambda: self.done.append(name))

    def _next_job(self) -> Job | None:
        if not self.thread.has_background_job:
            return None
        assert self.go_on.wait(TIMEOUT_S)
        return self.thread.next_background_job()


def test_commands_run_before_the_next_job() -> None:
    jobs = Jobs()
    futures = [jobs.background("first"), jobs.background("second"), jobs.command("command")]
    jobs.go_on.set()
    jobs.thread.start()
    for future in futures:
        future.result(TIMEOUT_S)
    jobs.thread.close()
    assert jobs.done == ["command", "first", "second"]


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_an_error_of_the_work_is_its_answer() -> None:
    jobs = Jobs()
    jobs.thread.start()

    with pytest.raises(UnknownCamera):
        jobs.thread.command("work", raising(UnknownCamera("camera 'attic'"))).result(TIMEOUT_S)
    jobs.command("next").result(TIMEOUT_S)
    jobs.thread.close()


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), MemoryError(), ValueError("quality"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_any_other_error_fails_its_own_work_only(error: Exception) -> None:
    jobs = Jobs()
    jobs.go_on.set()
    command = jobs.thread.command("camera 'gate': adding it", raising(error))
    background = jobs.thread.background("camera 'gate': copying it", raising(error))
    later = [jobs.command("command"), jobs.background("background")]
    jobs.thread.start()

    with pytest.raises(CameraFailed, match=f"camera 'gate': adding it: the device failed: {type(error).__name__}"):
        command.result(TIMEOUT_S)
    with pytest.raises(CameraFailed, match="copying it"):
        background.result(TIMEOUT_S)
    for future in later:
        future.result(TIMEOUT_S)
    assert jobs.thread.is_running
    jobs.thread.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lost_gpu_ends_the_thread_and_leaves_no_caller_waiting() -> None:
    """A process whose GPU has failed can run nothing on it any more, so it must end."""
    jobs = Jobs()
    work = jobs.thread.command("work", raising(torch.AcceleratorError("CUDA error: device-side assert triggered")))
    later = [jobs.command("command"), jobs.background("background")]
    jobs.thread.start()

    with pytest.raises(CameraFailed, match="the device failed: AcceleratorError"):
        work.result(TIMEOUT_S)
    for future in later:
        with pytest.raises(CameraFailed, match="the device has stopped"):
            future.result(TIMEOUT_S)
    jobs.thread.close()
    assert jobs.is_stopped.is_set()
    assert not jobs.thread.is_running
    assert jobs.done == []


def test_an_error_in_choosing_a_job_ends_neither_the_thread_nor_what_waits() -> None:
    jobs = Jobs()
    choices: list[Callable[[], Job | None]] = [raising(ZeroDivisionError()), raising(MemoryError())]  # type: ignore[list-item]
    thread = DeviceThread(
        lambda: choices.pop()() if choices else jobs._next_job(), on_stop=jobs.is_stopped.set, report=to_logging
    )
    jobs.thread = thread
    jobs.go_on.set()
    background = jobs.background("background")
    thread.start()

    jobs.command("command").result(TIMEOUT_S)
    background.result(TIMEOUT_S)
    assert choices == []
    assert thread.is_running
    thread.close()


class Impatient(threading.Condition):
    """The lock of a future whose caller cancels it as soon as it was released so many times."""

    def __init__(self, future: Future[None], releases: int) -> None:
        super().__init__()
        self._future = future
        self._releases = releases

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._releases -= 1
        if self._releases == 0:
            self._future.cancel()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("releases", [1, 2, 3, 4])
def test_a_caller_that_cancels_while_the_thread_stops_leaves_no_other_waiting(releases: int) -> None:
    jobs = Jobs()
    cancelled, other = jobs.background("cancelled"), jobs.background("other")
    cancelled._condition = Impatient(cancelled, releases)
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(TIMEOUT_S)

    jobs.thread.command("holds the thread", hold)
    jobs.thread.start()
    assert begun.wait(TIMEOUT_S)
    closing = threading.Thread(target=jobs.thread.close)
    closing.start()
    while jobs.thread.is_running:
        time.sleep(0.001)
    go_on.set()
    closing.join(TIMEOUT_S)

    assert cancelled.done()
    with pytest.raises(CameraFailed, match="other: the device has stopped"):
        other.result(TIMEOUT_S)


def test_a_closed_thread_refuses_work() -> None:
    jobs = Jobs()
    jobs.thread.start()
    jobs.thread.close()
    assert jobs.is_stopped.is_set()
    with pytest.raises(CameraFailed, match="late: the device has stopped"):
        jobs.command("late").result(TIMEOUT_S)
    assert jobs.done == []
