"""The rules by which a camera is found that ends the workers that decode it."""

from __future__ import annotations

from pipeline.workers.quarantine import FIRST_PAUSE_S, LAST_PAUSE_S, Quarantine, Restart

SOON_S = 300.0
GUILTY, OTHER = 1, 2


def test_the_cameras_of_a_worker_that_ends_once_go_on_together() -> None:
    quarantine = Quarantine(SOON_S)

    assert quarantine.worker_ended([GUILTY, OTHER], 0.0) == {GUILTY: Restart(), OTHER: Restart()}
    assert not quarantine.is_alone(GUILTY)


def test_the_second_time_each_gets_a_worker_of_its_own_at_once() -> None:
    quarantine = Quarantine(SOON_S)
    quarantine.worker_ended([GUILTY, OTHER], 0.0)

    restarts = quarantine.worker_ended([GUILTY, OTHER], 10.0)

    assert restarts == {GUILTY: Restart(), OTHER: Restart()}
    assert quarantine.is_alone(GUILTY)
    assert quarantine.is_alone(OTHER)


def test_a_camera_on_whose_thread_a_worker_crashed_is_alone_at_once_and_the_others_are_not_suspected() -> None:
    quarantine = Quarantine(SOON_S)

    assert quarantine.worker_ended([GUILTY, OTHER], 0.0, GUILTY) == {GUILTY: Restart(), OTHER: Restart()}
    assert quarantine.is_alone(GUILTY)
    assert not quarantine.is_alone(OTHER)
    assert quarantine.worker_ended([GUILTY], 1.0)[GUILTY] == Restart(FIRST_PAUSE_S, is_guilty=True, crashes=1)
    assert quarantine.worker_ended([OTHER], 2.0)[OTHER] == Restart()


def test_a_worker_that_blames_a_camera_of_another_one_is_not_believed() -> None:
    quarantine = Quarantine(SOON_S)
    quarantine.worker_ended([OTHER], 0.0, GUILTY)

    assert not quarantine.is_alone(GUILTY)
    assert not quarantine.is_alone(OTHER)


def test_a_camera_that_ends_its_workers_for_a_week_is_still_tried_again() -> None:
    quarantine, now_s = Quarantine(SOON_S), 0.0
    for _ in range(2_100):
        restart = quarantine.worker_ended([GUILTY], now_s)[GUILTY]
        now_s += restart.pause_s + 1

    assert restart == Restart(LAST_PAUSE_S, is_guilty=True, crashes=2_099)


def test_the_guilty_one_waits_longer_each_time_up_to_a_limit() -> None:
    quarantine, now_s = Quarantine(SOON_S), 0.0
    quarantine.worker_ended([GUILTY, OTHER], now_s)
    quarantine.worker_ended([GUILTY, OTHER], now_s)
    pauses = []
    for _ in range(10):
        now_s += pauses[-1] + 1 if pauses else 1
        restart = quarantine.worker_ended([GUILTY], now_s)[GUILTY]
        assert restart.is_guilty
        pauses.append(restart.pause_s)

    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LAST_PAUSE_S
    assert quarantine.is_alone(OTHER)


def test_who_ends_no_worker_for_long_is_as_before() -> None:
    quarantine = Quarantine(SOON_S)
    quarantine.worker_ended([GUILTY, OTHER], 0.0)
    quarantine.worker_ended([GUILTY, OTHER], 1.0)
    quarantine.worker_ended([GUILTY], 2.0)

    assert quarantine.release(SOON_S + 1.5) == [OTHER]
    assert quarantine.is_alone(GUILTY)
    assert quarantine.release(SOON_S + 2.5 + FIRST_PAUSE_S) == [GUILTY]
    assert quarantine.worker_ended([GUILTY, OTHER], 2 * SOON_S) == {GUILTY: Restart(), OTHER: Restart()}
    assert not quarantine.is_alone(GUILTY)


def test_ends_of_workers_that_are_far_apart_blame_nobody() -> None:
    quarantine = Quarantine(SOON_S)
    for now_s in (0.0, SOON_S + 1, 2 * SOON_S + 2):
        assert quarantine.worker_ended([GUILTY], now_s) == {GUILTY: Restart()}


def test_a_closed_camera_is_forgotten() -> None:
    quarantine = Quarantine(SOON_S)
    quarantine.worker_ended([GUILTY, OTHER], 0.0)
    quarantine.worker_ended([GUILTY, OTHER], 0.0)
    quarantine.forget(GUILTY)

    assert not quarantine.is_alone(GUILTY)
    assert quarantine.worker_ended([GUILTY], 1.0) == {GUILTY: Restart()}
