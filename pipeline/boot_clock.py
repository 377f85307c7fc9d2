"""The time since this machine started, which stays right when the wall clock is set."""

from __future__ import annotations

import time

# It counts a suspension: cameras, leases and other machines go on meanwhile.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time_s() -> float:
    """Seconds since this machine started, those of a suspension included."""
    return time.clock_gettime(_BOOT_CLOCK)
