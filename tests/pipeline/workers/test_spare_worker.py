"""A worker that is started beforehand takes the cameras of one that ended."""

from __future__ import annotations

import pytest

from pipeline.workers.messages import Alive, CameraClosed
from pipeline.workers.spare_worker import QUIET_S
from tests.pipeline.workers.test_supervisor import RESOLV_CONF, ScriptedWorker, Shard


def with_spare() -> tuple[Shard, ScriptedWorker]:
    """A shard with two cameras in one worker, and its spare."""
    shard = Shard(num_workers=1)
    shard.open("guilty")
    shard.open("neighbour")
    shard.advance(QUIET_S)
    first, spare = shard.workers
    assert (first.cameras, spare.cameras) == ([0, 1], [])
    return shard, spare


def pass_time(shard: Shard, seconds: float) -> None:
    """All workers live meanwhile."""
    end_s = shard.now_s + seconds - 1e-6
    while shard.now_s < end_s:
        for worker in shard.alive():
            worker.says.append((Alive(), bytearray()))
        shard.advance(0.1)


def crash(shard: Shard, worker: ScriptedWorker, camera: int | None = None) -> None:
    worker.has_died, worker.crashed_camera = True, camera
    shard.advance(0.1)
    shard.advance(0.1)


def test_the_neighbours_of_a_camera_that_ends_its_worker_wait_for_no_start() -> None:
    shard, spare = with_spare()

    crash(shard, shard.workers[0], camera=0)

    assert [worker.cameras for worker in shard.workers] == [[0, 1], [1], [0]]
    assert shard.workers[1] is spare
    assert [worker.is_alone for worker in shard.supervisor.workers] == [True, False]


def test_all_cameras_go_to_the_spare_where_the_guilty_one_is_not_known() -> None:
    shard, spare = with_spare()

    crash(shard, shard.workers[0])

    assert spare.cameras == [0, 1]
    assert len(shard.workers) == 2


def test_there_is_another_spare_once_the_cameras_have_had_time_to_connect() -> None:
    shard, _ = with_spare()
    crash(shard, shard.workers[0])

    pass_time(shard, QUIET_S - 0.3)
    assert len(shard.workers) == 2
    pass_time(shard, 0.3)
    assert [worker.cameras for worker in shard.workers] == [[0, 1], [0, 1], []]
    pass_time(shard, 2 * QUIET_S)
    assert len(shard.workers) == 3


def test_no_spare_is_started_before_a_worker_with_cameras_has_started() -> None:
    shard = Shard(num_workers=1)
    shard.open("lobby")
    shard.supervisor.workers[0].has_started = False

    shard.now_s += QUIET_S
    shard.supervisor.tick()

    assert len(shard.workers) == 1


@pytest.mark.parametrize("has_died", [True, False])
def test_a_spare_that_has_ended_or_may_not_read_a_replaced_file_is_not_used(has_died: bool) -> None:
    shard, spare = with_spare()
    spare.has_died = has_died
    if not has_died:
        shard.files = frozenset({(RESOLV_CONF, 0, 2)})

    crash(shard, shard.workers[0])

    assert spare.has_ended
    assert spare.cameras == []
    assert shard.workers[2].cameras == [0, 1]
    assert "is started again" in shard.states["neighbour"][1]


def test_a_spare_ends_with_the_last_camera() -> None:
    shard, spare = with_spare()
    for feed in list(shard.supervisor.workers[0].feeds.values()):
        feed.request_stop()
        shard.workers[0].says.append((CameraClosed(camera=feed.handle), bytearray()))
    shard.read()
    assert not spare.has_ended
    shard.advance(0)

    assert spare.has_ended


def test_a_spare_ends_with_its_shard() -> None:
    shard, spare = with_spare()

    shard.supervisor.end()

    assert spare.has_ended


def test_a_spare_that_does_not_start_is_tried_again_and_disturbs_no_camera() -> None:
    shard = Shard(num_workers=1)
    shard.open("lobby")
    shard.can_start = False
    pass_time(shard, QUIET_S)
    shard.can_start = True

    pass_time(shard, QUIET_S - 0.2)
    assert len(shard.workers) == 1
    pass_time(shard, 0.2)
    assert len(shard.workers) == 2
    assert not any(worker.has_ended for worker in shard.workers)
    assert "lobby" not in shard.states
