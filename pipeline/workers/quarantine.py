"""Which camera ends the workers that decode it. Plain rules without a clock, a process or a thread."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.workers import backoff

FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Restart:
    """How a camera goes on after its worker ended. is_guilty: it alone ends workers, as often in a row as `crashes`."""

    pause_s: float = 0.0
    is_guilty: bool = False
    crashes: int = 0


@dataclass(slots=True)
class _Record:
    """Of a camera whose worker ended a short time ago."""

    ended_s: float
    is_alone: bool = False
    crashes: int = 0


class Quarantine:
    """Finds the camera that ends workers.

    A camera on whose thread a worker crashed gets a worker of its own, and the others go on together. Where the thread
    is not known, all cameras go on together the first time. If it happens to any of them again soon, each of them gets
    a worker of its own, all at once, so that the innocent ones lose nothing more. One that ends a worker which it had
    to itself is guilty, and waits longer each time. A camera whose worker goes on for `soon_s` is as before.
    """

    def __init__(self, soon_s: float) -> None:
        """soon_s: two ends of workers within this time have one cause."""
        self._soon_s = soon_s
        self._records: dict[int, _Record] = {}

    def is_alone(self, camera: int) -> bool:
        """Whether the camera must have a worker of its own."""
        record = self._records.get(camera)
        return record is not None and record.is_alone

    def worker_ended(
        self, cameras: Collection[int], now_s: float, crashed_on: int | None = None
    ) -> Mapping[int, Restart]:
        """How each of its cameras goes on. crashed_on: the one on whose thread it crashed, if that is known."""
        found = [camera for camera in cameras if camera == crashed_on]
        is_known = 0 < len(found) < len(cameras)
        is_again = is_known or any(self._ended_soon_before(camera, now_s) for camera in cameras)
        restarts = dict.fromkeys(cameras, Restart())
        for camera in found if is_known else cameras:
            record = self._records.setdefault(camera, _Record(now_s))
            record.ended_s = now_s
            record.is_alone = is_again
            if is_again and len(cameras) == 1:
                record.crashes += 1
                pause_s = backoff.pause_s(FIRST_PAUSE_S, LAST_PAUSE_S, record.crashes - 1)
                record.ended_s += pause_s
                restarts[camera] = Restart(pause_s, is_guilty=True, crashes=record.crashes)
        return restarts

    def release(self, now_s: float) -> list[int]:
        """The cameras that were alone and need not be any more. They are as cameras of which nothing is known."""
        over = [camera for camera, record in self._records.items() if now_s - record.ended_s > self._soon_s]
        return [camera for camera in over if self._records.pop(camera).is_alone]

    def forget(self, camera: int) -> None:
        """The camera is closed."""
        self._records.pop(camera, None)

    def _ended_soon_before(self, camera: int, now_s: float) -> bool:
        record = self._records.get(camera)
        return record is not None and now_s - record.ended_s <= self._soon_s
