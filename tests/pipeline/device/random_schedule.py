"""What cameras, clients and faults do to a device between its jobs, drawn from a seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.tiny.scenes.scene import Scene
from pipeline.answers import Caller, InvalidQuestion
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.clips import Clip
from tests.pipeline.device.checked_device import CheckedDevice
from tests.pipeline.device.damaged_model import Damage
from tests.pipeline.device.faults import ERRORS, Fault
from tests.pipeline.device.question_batches import Question

CAMERAS = ("lobby", "gate", "yard", "dock")
TEXTS = ("what is in view now", "did a dog appear", "which came first , car or dog", "how many in view now")
_BEGAN_S = 1_000.0
_HASTY_S = 0.001
_PUT_SHARE = 0.8
_FAULT_SHARE = 0.2
_OPERATIONS = (60, 250, 1_000)  # of a step of an answer, of the question, of a step of frames with a compaction
_KINDS = (*Damage, *ERRORS)
_FRAMES = 48  # of the street, which then begins again


@functools.cache
def _street(width: int, height: int) -> NDArray[np.uint8]:
    """What every camera sees, each from a frame of its own on."""
    scene = Scene(seed=7)
    return np.stack([scene.frame(frame / 2, width, height) for frame in range(_FRAMES)])


class RandomSchedule:
    """Draws what happens, does it to a device, and runs some of the device's jobs. size: of frames."""

    def __init__(self, seed: int, device: CheckedDevice, config: DeviceConfig, size: tuple[int, int]) -> None:
        self._street = _street(*size)
        self._rng = random.Random(seed)
        self._device = device
        self._config = config
        self._shifts = {name: self._rng.randrange(_FRAMES) for name in CAMERAS}  # in the street, in frames
        self._now_s = dict.fromkeys(CAMERAS, _BEGAN_S)

    def run(self, turns: int) -> None:
        """Runs the schedule; what is left then is done without faults."""
        happenings = {
            self._put: 9.0, self._ask: 5.0, self._cancel: 1.0, self._ask_too_much: 0.5, self._add: 2.0,
            self._remove: 0.2, self._erase: 0.2, self._set_gate: 0.3, self._copy: 0.7, self._move: 0.5,
            self._measure: 0.2, self._discard: 0.3, self._hold_back: 1.0, self._release: 1.5,
        }  # fmt: skip
        for _ in CAMERAS[1:]:
            self._add()
        for _ in range(turns):
            (happens,) = self._rng.choices(list(happenings), list(happenings.values()))
            happens()
            for _ in range(self._rng.choice((0, 1, 1, 2, 3))):
                self._device.run_job(self._fault())
                self._device.engine.now_s += self._rng.choice((0.0, _HASTY_S))
        for name in self._device.cameras:
            self._device.release(name)
        while self._device.run_job():
            pass
        self._device.check_end()

    def _fault(self) -> Fault | None:
        if self._rng.random() > _FAULT_SHARE:
            return None
        return self._fault_of(_KINDS)

    def _fault_of(self, kinds: Sequence[str]) -> Fault:
        return Fault(self._rng.choice(kinds), self._rng.randrange(self._rng.choice(_OPERATIONS)))

    def _camera(self) -> str | None:
        return self._rng.choice(sorted(self._device.cameras)) if self._device.cameras else None

    def _put(self) -> None:
        """A clip of most cameras, at times of one that is not there."""
        for name in CAMERAS:
            if self._rng.random() < (_PUT_SHARE if name in self._device.cameras else 0.05):
                first_s = self._now_s[name] + self._rng.choice((0.5, 0.5, 0.5, 2.0, 20.0))
                times_s = tuple(first_s + frame / 2 for frame in range(self._rng.randint(1, 6)))
                self._now_s[name] = times_s[-1]
                number = int(2 * (times_s[0] - _BEGAN_S)) + self._shifts[name]
                frames = np.roll(self._street, -number, axis=0)[: len(times_s)]
                previews = tuple(frames[:, ::8, ::8])
                self._device.engine.clips.put(Clip(name, frames, times_s, previews, times_s[-1], 0.5))

    def _ask(self) -> None:
        for _ in range(self._rng.randint(1, 3)):
            if name := self._camera():
                caller = Caller(self._rng.choice("abc"), _HASTY_S if self._rng.random() < 0.1 else None)
                text, max_tokens = self._rng.choice(TEXTS), self._rng.randint(1, 6)
                self._device.ask(Question(name, text, max_tokens=max_tokens, caller=caller))

    def _ask_too_much(self) -> None:
        if name := self._camera():
            with pytest.raises(InvalidQuestion):
                self._device.ask(Question(name, "what " * self._config.max_question_tokens))

    def _cancel(self) -> None:
        if unfinished := [record for record in self._device.records if not record.is_over]:
            self._device.cancel(self._rng.choice(unfinished))

    def _add(self) -> None:
        absent = [name for name in CAMERAS if name not in self._device.cameras]
        if len(self._device.cameras) < self._config.max_cameras:
            fault = self._fault_of(tuple(ERRORS)) if self._rng.random() < _FAULT_SHARE else None
            self._device.add(self._rng.choice(absent), None, is_gated=self._rng.random() < 0.5, fault=fault)

    def _remove(self) -> None:
        if name := self._camera():
            self._device.remove(name, keeps_answers=self._rng.random() < 0.5)

    def _erase(self) -> None:
        if name := self._camera():
            self._device.erase(name)

    def _discard(self) -> None:
        if name := self._camera():
            self._device.discard(name)

    def _hold_back(self) -> None:
        if name := self._camera():
            self._device.hold_back(name)

    def _release(self) -> None:
        if name := self._camera():
            self._device.release(name)

    def _set_gate(self) -> None:
        if name := self._camera():
            self._device.set_gate(name, is_gated=self._rng.random() < 0.7)

    def _copy(self) -> None:
        if name := self._camera():
            self._device.copy(name)

    def _move(self) -> None:
        if name := self._camera():
            self._device.move(name, is_gated=self._rng.random() < 0.5)

    def _measure(self) -> None:
        if len(self._device.cameras) < self._config.max_cameras:
            assert self._device.engine.measure_ingest().result(0) > 0
