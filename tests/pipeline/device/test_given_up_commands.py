"""A command whose caller gives up: it is undone, or carried out later, and leaves no slot and no name behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import pytest

from models.llava_onevision import LlavaOnevision
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraFailed
from pipeline.device.engine import Engine
from tests.pipeline.device.engine_driver import CONFIG, MEMORY, TIMEOUT_S, settle

T = TypeVar("T")


class Impatient:
    """An engine whose callers do not wait at all; its device waits with every addition for `may_go_on`."""

    def __init__(self, model: LlavaOnevision) -> None:
        self.engine = Engine(model, MEMORY, CONFIG, command_timeout_s=0.0)
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self._add = self.engine._slots.add
        self.engine._slots.add = self._slow_add  # type: ignore[method-assign]
        self.engine.start()

    def add(self, camera: str) -> None:
        """Adds a camera for a caller that waits."""
        add = partial(self._add, camera, None, started_s=0.0, gap=None, is_gated=False)
        self.engine._thread.command("add", add).result(TIMEOUT_S)

    def busy(self) -> None:
        self.engine._thread.command("busy", lambda: self.may_go_on.wait(TIMEOUT_S))

    def wait_for_begin(self) -> None:
        """From now on a command is begun before its caller gives up."""
        command = self.engine._thread.command

        def begun(what: str, work: Callable[[], T]) -> Future[T]:
            future = command(what, work)
            assert self.has_begun.wait(TIMEOUT_S)
            return future

        self.engine._thread.command = begun  # type: ignore[method-assign]

    def _slow_add(self, *args: Any, **kwargs: Any) -> None:
        self.has_begun.set()
        assert self.may_go_on.wait(TIMEOUT_S)
        self._add(*args, **kwargs)


@pytest.mark.parametrize("is_begun", [True, False])
def test_a_camera_whose_caller_gave_up_is_not_added(model: LlavaOnevision, is_begun: bool) -> None:
    """Its slot and its name are free, whether the device had begun to add it or not."""
    device = Impatient(model)
    if is_begun:
        device.wait_for_begin()
    else:
        device.busy()
    with pytest.raises(CameraFailed, match=r"camera 'lobby': adding it: not done after 0 s \(limit\)"):
        device.engine.add_camera("lobby")
    device.may_go_on.set()
    settle(device.engine)

    with pytest.raises(UnknownCamera):
        device.engine.status("lobby")
    for camera in ("lobby", "gate"):
        device.add(camera)
    device.engine.close()


def test_a_camera_that_was_there_stays_when_an_addition_of_its_name_is_given_up(model: LlavaOnevision) -> None:
    device = Impatient(model)
    device.add("lobby")
    device.wait_for_begin()
    with pytest.raises(CameraFailed):
        device.engine.add_camera("lobby")
    device.may_go_on.set()
    settle(device.engine)
    assert device.engine.status("lobby").frames_seen == 0
    device.engine.close()


def test_a_camera_whose_removal_takes_too_long_is_removed_later(model: LlavaOnevision) -> None:
    device = Impatient(model)
    for camera in ("lobby", "gate"):
        device.add(camera)
    device.busy()
    with pytest.raises(CameraFailed, match=r"camera 'lobby': removing it: not done after 0 s \(limit\)"):
        device.engine.remove_camera("lobby")
    device.may_go_on.set()
    device.add("lobby")
    device.engine.close()
