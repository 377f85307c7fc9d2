"""The clock that nobody sets: seconds since this machine started."""

from __future__ import annotations

import time

# It goes on while the machine is suspended, as the world around it does.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time_s() -> float:
    """Seconds since this machine started, those of a suspension included."""
    return time.clock_gettime(_BOOT_CLOCK)
