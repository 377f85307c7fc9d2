"""The next owner of a camera is told how far its clock is ahead, and the move waits for the frame that both have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.cameras import CameraStatus
from tests.actors.scripted import ScriptedShard, camera_spec, scripted_fleet
from tests.virtual_time import now_s


class ClockShard(ScriptedShard):
    """newest_s: of the frames of its cameras."""

    newest_s = 0.0

    def _status(self, name: str) -> CameraStatus:
        status = super()._status(name)
        return replace(status, memory=replace(status.memory, newest_s=self.newest_s))


@pytest.mark.parametrize(("ahead_s", "has_waited"), [(30.0, False), (-30.0, False), (0.0, False), (29.0, True)])
async def test_a_move_waits_for_the_first_frame_of_the_standby_by_the_clock_of_the_owner(
    ahead_s: float, has_waited: bool
) -> None:
    one, other = ClockShard(pid=100), ClockShard(pid=200)
    one.clock_s, other.clock_s = 5_000.0, 5_000.0 + ahead_s
    one.newest_s, other.standby_since_s = 4_999.0, 4_999.0 + ahead_s + has_waited
    fleet = scripted_fleet(one, other)
    await fleet.reconcile()
    await fleet.add_camera(camera_spec("lobby"))
    began_s = now_s()

    await fleet.move_camera("lobby", 1)

    assert (now_s() - began_s >= 4.0) is has_waited
    assert other.assignments["lobby"].clock_ahead_s == pytest.approx(ahead_s)


async def test_a_next_owner_of_a_version_before_is_not_told_of_clocks() -> None:
    one, other = ClockShard(pid=100), ClockShard(pid=200)
    one.clock_s = 5_000.0
    fleet = scripted_fleet(one, other)
    await fleet.reconcile()
    await fleet.add_camera(camera_spec("lobby"))

    await fleet.move_camera("lobby", 1)

    assert other.assignments["lobby"].clock_ahead_s is None
