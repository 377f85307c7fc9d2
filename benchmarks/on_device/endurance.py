"""What the process holds after very many clips and questions, beside what it usage after the first tenth of them."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from benchmarks.on_device.serving_load import Cameras

_ROUNDS = 10  # of one clip of each camera, between questions
_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Usage:
    """resident_nbytes: of the process, at the end of each tenth. slots_nbytes: of all slots, before and after.

    clips, questions: how many were ingested and answered.
    """

    resident_nbytes: tuple[int, ...]
    slots_nbytes: tuple[int, int]
    clips: int
    questions: int

    @property
    def ratio(self) -> float:
        """Of the last tenth to the first one."""
        return self.resident_nbytes[-1] / self.resident_nbytes[0]


def run(cameras: Cameras, clips: int, questions: int) -> Usage:
    """About so many clips of one frame each, and so many questions, all cameras in turn."""
    slots_nbytes, num_cameras = cameras.engine.nbytes, len(cameras.names)
    turns = max(_SAMPLES, clips // (num_cameras * _ROUNDS))
    each = -(-questions // turns)
    resident = []
    for turn in range(turns):
        for _ in range(_ROUNDS):
            for name in cameras.names:
                cameras.put(name, 1)
            cameras.settle()
        for listener in [cameras.ask(turn * each + number) for number in range(each)]:
            listener.done()
        if (turn + 1) * _SAMPLES // turns > turn * _SAMPLES // turns:
            resident.append(psutil.Process().memory_info().rss)
    nbytes = (slots_nbytes, cameras.engine.nbytes)
    return Usage(tuple(resident), nbytes, turns * _ROUNDS * num_cameras, turns * each)
