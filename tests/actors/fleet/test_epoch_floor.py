from __future__ import annotations

from actors.fleet.epoch_floor import EpochFloor


def test_a_floor_is_not_below_an_epoch_that_an_unreachable_owner_may_have_got_since() -> None:
    """Epochs are milliseconds of the store's clock: ten seconds after 5,000 an owner may have got 15,000."""
    floor = EpochFloor()
    floor.observe(5_000, now_s=100.0)

    assert floor.at(110.0) == 15_000


def test_an_epoch_that_is_seen_again_does_not_count_as_new() -> None:
    floor = EpochFloor()
    floor.observe(5_000, now_s=100.0)
    floor.observe(5_000, now_s=108.0)
    floor.observe(4_000, now_s=109.0)

    assert floor.at(110.0) == 15_000


def test_without_an_epoch_there_is_no_floor() -> None:
    floor = EpochFloor()
    floor.observe(0, now_s=100.0)

    assert floor.at(110.0) == 0
