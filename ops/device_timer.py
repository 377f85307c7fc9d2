"""How long a device takes for some work, though the host does not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class DeviceTimer:
    """Seconds of a device from now until `stop`, without what it had to do before. A CPU's are those of the clock.

    On a GPU: from the end of the work that its current stream has now to the end of what it got until `stop`. The host
    may be done long before, because it only launches that work.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self._began = self._moment()
        self._ended: torch.cuda.Event | float | None = None

    def stop(self) -> None:
        """Ends the time that is taken. Does not wait for the device."""
        self._ended = self._moment()

    @property
    def seconds(self) -> float:
        """After `stop`. Blocks until the device has come to it."""
        assert self._ended is not None
        if isinstance(self._began, torch.cuda.Event):
            assert isinstance(self._ended, torch.cuda.Event)
            self._ended.synchronize()
            elapsed_ms: float = self._began.elapsed_time(self._ended)
            return elapsed_ms / 1_000
        assert isinstance(self._ended, float)
        return self._ended - self._began

    def _moment(self) -> torch.cuda.Event | float:
        if self._device.type != "cuda":
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
