"""A machine whose clocks a test sets."""

from __future__ import annotations

from pipeline.sources.frame_clock import SteadyClock
from tests.pipeline.playing import START_S


class Machine:
    """A machine's clocks: of its boot, which goes on, and of the wall, which is set."""

    def __init__(self) -> None:
        self.boot_s, self.wall_offset_s = 77.0, START_S - 77.0
        self.clock = SteadyClock(wall=lambda: self.wall_s, boot=lambda: self.boot_s)

    @property
    def wall_s(self) -> float:
        return self.boot_s + self.wall_offset_s

    def set_clock(self, by_s: float) -> None:
        self.wall_offset_s += by_s
