"""The thread of a device: commands first, background work when its turn comes, and an answer for every caller."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from pipeline.answers import AnswerFailed, UnknownCamera
from pipeline.device.device_thread import DeviceThread

TIMEOUT_S = 30.0


class Jobs:
    """A thread whose only job is background work; the first job waits for `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.is_stopped = threading.Event(), threading.Event()
        self.thread = DeviceThread(self._run_job, on_stop=self.is_stopped.set)
        self.done: list[str] = []

    def background(self, name: str) -> Future[None]:
        return self.thread.background(lambda: self.done.append(name))

    def command(self, name: str) -> Future[None]:
        return self.thread.command(lambda: self.done.append(name))

    def _run_job(self) -> bool:
        if not self.thread.has_background_job:
            return False
        assert self.go_on.wait(TIMEOUT_S)
        self.thread.run_background_job()
        return True


def test_commands_run_before_the_next_job() -> None:
    jobs = Jobs()
    futures = [jobs.background("first"), jobs.background("second"), jobs.command("command")]
    jobs.go_on.set()
    jobs.thread.start()
    for future in futures:
        future.result(TIMEOUT_S)
    jobs.thread.close()
    assert jobs.done == ["command", "first", "second"]


def test_an_expected_error_fails_its_own_work_only() -> None:
    jobs = Jobs()
    jobs.thread.start()

    def fail() -> None:
        raise UnknownCamera("camera 'attic': not on this device")

    with pytest.raises(UnknownCamera):
        jobs.thread.command(fail).result(TIMEOUT_S)
    jobs.command("next").result(TIMEOUT_S)
    assert jobs.thread.is_running
    jobs.thread.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unexpected_error_ends_the_thread_and_leaves_no_caller_waiting() -> None:
    jobs = Jobs()

    def fail() -> None:
        raise ZeroDivisionError

    jobs.thread.command(fail)
    later = [jobs.command("command"), jobs.background("background")]
    jobs.thread.start()
    for future in later:
        future.result(TIMEOUT_S)
    jobs.thread.close()
    assert jobs.is_stopped.is_set()
    assert not jobs.thread.is_running


def test_a_closed_thread_refuses_work() -> None:
    jobs = Jobs()
    jobs.thread.start()
    jobs.thread.close()
    assert jobs.is_stopped.is_set()
    with pytest.raises(AnswerFailed, match="closing"):
        jobs.command("late").result(TIMEOUT_S)
    assert jobs.done == []
