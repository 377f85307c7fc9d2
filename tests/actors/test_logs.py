"""Logging takes nothing down."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from actors import logs
from pipeline.cameras import CameraFailed
from pipeline.device.device_thread import DeviceThread
from tests.pipeline.device.engine_driver import TIMEOUT_S


class FullDisk(io.StringIO):
    """A file on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    thread = DeviceThread(lambda: None, on_stop=lambda: None)
    thread.start()

    with pytest.raises(CameraFailed, match="a job: the device failed: ValueError"):
        thread.command("a job", fail).result(TIMEOUT_S)

    assert thread.command("the next job", lambda: 1).result(TIMEOUT_S) == 1
    thread.close()
