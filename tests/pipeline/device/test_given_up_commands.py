"""A command whose caller gives up: it is undone, or carried out later, and leaves no slot and no name behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from models.llava_onevision import LlavaOnevision
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraFailed
from pipeline.device.device_thread import Deliver, DeviceThread
from pipeline.device.engine import Engine
from pipeline.device.engine_parts import EngineParts
from tests.pipeline.device.engine_driver import CONFIG, MEMORY, TIMEOUT_S, settle

T = TypeVar("T")


class PausingThread(DeviceThread):
    """A device thread that waits in each command, from `pause` to `go_on`. No caller gives up before it has begun."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_pausing = False
        self._has_begun, self._may_go_on = threading.Event(), threading.Event()

    def pause(self) -> None:
        self._is_pausing = True

    def go_on(self) -> None:
        self._is_pausing = False
        self._may_go_on.set()

    def command(self, what: str, work: Callable[[], T], deliver: Deliver[T] | None = None) -> Future[T]:
        if not self._is_pausing:
            return super().command(what, work, deliver)

        def paused() -> T:
            self._has_begun.set()
            assert self._may_go_on.wait(TIMEOUT_S)
            return work()

        future = super().command(what, paused, deliver)
        assert self._has_begun.wait(TIMEOUT_S)
        return future


class Impatient:
    """An engine whose callers do not wait at all, but in `add`."""

    def __init__(self, model: LlavaOnevision) -> None:
        self.engine = Engine(model, MEMORY, CONFIG, parts=EngineParts(thread=self._new_thread))
        self.engine.command_timeout_s = 0.0
        self._is_over = threading.Event()
        self.engine.start()

    def _new_thread(self, *args: Any, **kwargs: Any) -> DeviceThread:
        self._thread = PausingThread(*args, **kwargs)
        return self._thread

    def add(self, camera: str) -> None:
        """Adds a camera for a caller that waits."""
        self.engine.command_timeout_s = TIMEOUT_S
        self.engine.add_camera(camera)
        self.engine.command_timeout_s = 0.0

    def busy(self) -> None:
        """A command is not begun before its caller gives up."""
        self.engine.command("busy", lambda: self._is_over.wait(TIMEOUT_S))

    def pause(self) -> None:
        """A command is begun before its caller gives up."""
        self._thread.pause()

    def go_on(self) -> None:
        self._thread.go_on()
        self._is_over.set()


@pytest.mark.parametrize("is_begun", [True, False])
def test_a_camera_whose_caller_gave_up_is_not_added(model: LlavaOnevision, is_begun: bool) -> None:
    """Its slot and its name are free, whether the device had begun to add it or not."""
    device = Impatient(model)
    if is_begun:
        device.pause()
    else:
        device.busy()
    with pytest.raises(CameraFailed, match=r"camera 'lobby': adding it: not done after 0 s \(limit\)"):
        device.engine.add_camera("lobby")
    device.go_on()
    settle(device.engine)

    with pytest.raises(UnknownCamera):
        device.engine.status("lobby")
    for camera in ("lobby", "gate"):
        device.add(camera)
    device.engine.close()


def test_a_camera_that_was_there_stays_when_an_addition_of_its_name_is_given_up(model: LlavaOnevision) -> None:
    device = Impatient(model)
    device.add("lobby")
    device.pause()
    with pytest.raises(CameraFailed):
        device.engine.add_camera("lobby")
    device.go_on()
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
    device.go_on()
    device.add("lobby")
    device.engine.close()
