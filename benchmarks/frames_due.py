"""The frames that the memories of cameras have, against those that were due and those that declared gaps leave out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.fleet.fleet import Fleet
from pipeline.memory_status import MemoryStatus

_SAMPLE_FPS = 2.0  # of a simulated camera


@dataclass(frozen=True, slots=True)
class FramesDue:
    """Of all cameras together. missing: frames that were due and are neither in a memory nor in a declared gap.

    gap_s: seconds in declared gaps, by reason.
    """

    missing: int
    gap_s: dict[str, float]


async def memories_of(fleet: Fleet, names: Sequence[str]) -> dict[str, MemoryStatus]:
    """The present state of these cameras' memories."""
    return {view.spec.name: view.status.memory for view in await fleet.list_cameras() if view.spec.name in names}


def between(before: Mapping[str, MemoryStatus], after: Mapping[str, MemoryStatus]) -> FramesDue:
    """What the memories lack of the time between the two looks. A camera that is in one of them alone is left out."""
    missing, gap_s = 0, defaultdict[str, float](float)
    for name in before.keys() & after.keys():
        since_s, until_s = before[name].newest_s or 0.0, after[name].newest_s or 0.0
        gaps = [gap for gap in after[name].gaps if gap.start_s >= since_s and gap.end_s <= until_s]
        read = after[name].frames_seen - before[name].frames_seen
        # A gap lasts from the last frame before it to the first one after it.
        declared = sum(_steps(gap.end_s - gap.start_s) - 1 for gap in gaps)
        missing += _steps(until_s - since_s) - read - declared
        for gap in gaps:
            gap_s[gap.reason] += round(gap.end_s - gap.start_s, 1)
    return FramesDue(missing, dict(gap_s))


def _steps(duration_s: float) -> int:
    return round(duration_s * _SAMPLE_FPS)
