"""Logging takes nothing down."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import threading

import pytest
import structlog

from actors import logs
from actors.config.observability import LogFormat
from pipeline.cameras import CameraFailed
from pipeline.device.device_thread import DeviceThread, Job
from tests.pipeline.device.engine_driver import TIMEOUT_S


class FullDisk(io.StringIO):
    """A file on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Writes(io.StringIO):
    """A file that keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        self.texts.append(text)
        return len(text)


def closed() -> io.StringIO:
    """A file that was closed."""
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("make_file", [FullDisk, closed])
def test_a_device_goes_on_where_its_log_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, make_file: type[io.StringIO]
) -> None:
    """A full disk ended the device thread of every shard at its first failed job."""

    def fail() -> None:
        raise ValueError("an image that cannot be encoded")

    monkeypatch.setattr(sys, "stderr", make_file())
    logs.log_to_stderr()
    thread = DeviceThread(lambda: None, on_stop=lambda: None, report=structlog.get_logger().error)
    thread.start()

    with pytest.raises(CameraFailed, match="a job: the device failed: ValueError"):
        thread.command("a job", fail).result(TIMEOUT_S)

    assert thread.command("the next job", lambda: 1).result(TIMEOUT_S) == 1
    thread.close()


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_a_line_and_its_end_are_one_write(monkeypatch: pytest.MonkeyPatch, log_format: LogFormat) -> None:
    """Other threads write to standard error too, e.g. that of Ray: their lines began between a line and its end."""
    file = Writes()
    monkeypatch.setattr(sys, "stderr", file)
    logs.log_to_stderr(log_format=log_format)

    structlog.get_logger().info("shard_up", pid=30950)

    (text,) = file.texts
    assert text.endswith("\n")
    assert "30950" in text


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_a_field_without_a_value_is_left_out(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    """`reason= detail=` reads as if something was lost. A zero and a false are values."""
    logs.log_to_stderr(log_format=log_format, shard=0)
    structlog.get_logger().info("camera_state", camera="gate", reason="", detail="", node=None, frames=0, is_new=False)

    line = capsys.readouterr().err
    assert not any(name in line for name in ("reason", "detail", "node"))
    assert all(name in line for name in ("shard", "gate", "frames", "is_new"))


@pytest.mark.parametrize("log_format", [LogFormat.AUTO, LogFormat.PLAIN])
def test_a_file_gets_lines_without_colour_codes(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    logs.log_to_stderr(log_format=log_format, shard=3)
    structlog.get_logger().warning("camera_lost", camera="gate")

    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert "level=warning event=camera_lost shard=3 camera=gate" in line


def test_a_line_about_a_question_has_camera_shard_epoch_and_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """The device knows a camera by its id; the shard adds what an operator looks for."""

    def fail() -> None:
        raise ValueError("odd")

    fields = {"id-1": {"camera": "gate", "camera_id": "id-1", "epoch": 7}}
    logs.log_to_stderr(log_format=LogFormat.JSON, shard=3, camera_fields=lambda camera: fields.get(camera, {}))
    failed = threading.Event()
    jobs = [Job("an answer", fail, lambda _: failed.set(), {"camera": "id-1", "answer_id": "a1"})]
    thread = DeviceThread(
        lambda: jobs.pop() if jobs else None, on_stop=lambda: None, report=structlog.get_logger().error
    )
    thread.start()
    assert failed.wait(TIMEOUT_S)
    thread.close()
    logs.log_to_stderr()

    line = json.loads(capsys.readouterr().err)
    assert [line[key] for key in ("event", "camera", "camera_id", "shard", "epoch", "answer_id")] == [
        "device_job_failed",
        "gate",
        "id-1",
        3,
        7,
        "a1",
    ]


def test_what_others_write_becomes_objects_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Ray copies the lines of its processes with a prefix; progress is for people."""
    with logs.json_lines(LogFormat.JSON):
        print('\x1b[36m(ShardProcess pid=17)\x1b[0m {"event": "camera_opened"}')  # noqa: T201
        print("starting", "Ray …", file=sys.stderr)  # noqa: T201

    written = capsys.readouterr()
    assert json.loads(written.out) == {"event": "camera_opened"}
    assert json.loads(written.err) == {"event": "output", "text": "starting Ray …"}


def test_json_is_one_object_a_line_also_of_libraries_and_of_errors(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.root.handlers)
    logging.root.handlers.clear()
    try:
        logs.log_to_stderr(log_format=LogFormat.JSON, shard=3)
        try:
            raise ValueError("two\nlines")
        except ValueError:
            structlog.get_logger().exception("action_failed", camera="gate", epoch=7)
        logging.getLogger("library").warning("odd\nthing")
    finally:
        logging.root.handlers[:] = handlers
        logs.log_to_stderr()

    ours, library = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["shard"], ours["camera"], ours["epoch"]) == ("action_failed", 3, "gate", 7)
    assert "two\nlines" in ours["exception"]
    assert (library["event"], library["level"], library["text"]) == ("output", "warning", "odd\nthing")
