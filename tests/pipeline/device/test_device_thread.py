"""The thread of a device: commands first, background work when its turn comes, and an answer for every caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import torch

from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraFailed
from pipeline.device.device_thread import DeviceThread, Job

TIMEOUT_S = 30.0


class Jobs:
    """A thread whose only job is background work; the first job waits for `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.is_stopped = threading.Event(), threading.Event()
        self.thread = DeviceThread(self._next_job, on_stop=self.is_stopped.set)
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


def test_a_closed_thread_refuses_work() -> None:
    jobs = Jobs()
    jobs.thread.start()
    jobs.thread.close()
    assert jobs.is_stopped.is_set()
    with pytest.raises(CameraFailed, match="late: the device has stopped"):
        jobs.command("late").result(TIMEOUT_S)
    assert jobs.done == []
