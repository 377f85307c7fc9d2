"""The time that a device takes. What a GPU makes of it is in the tests marked gpu."""

from __future__ import annotations

import torch

from ops.device_timer import DeviceTimer


def test_a_cpu_is_timed_by_the_clock_up_to_the_stop() -> None:
    moments = iter((3.0, 5.5, 100.0))
    timer = DeviceTimer(torch.device("cpu"), lambda: next(moments))
    timer.stop()

    assert (timer.seconds, timer.seconds) == (2.5, 2.5)
