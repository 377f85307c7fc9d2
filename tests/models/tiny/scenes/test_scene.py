"""The street of a seed: its log of visits and its frames agree."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visit_schedule import MAX_IN_VIEW, MIN_ORDER_S
from models.tiny.scenes.visits import COLOURS, KINDS

seeds = st.integers(0, 2**32)
QUICK = settings(max_examples=15, deadline=None)


@QUICK
@given(seed=seeds, until_s=st.floats(0, 300))
def test_the_log_does_not_depend_on_the_calls_that_extend_it(seed: int, until_s: float) -> None:
    at_once, step_by_step = Scene(seed), Scene(seed)

    step_by_step.visits(until_s / 3)
    step_by_step.visible(until_s / 2)

    assert at_once.visits(until_s) == step_by_step.visits(until_s)


@QUICK
@given(seed=seeds)
def test_entries_are_in_order_and_neither_entries_nor_exits_coincide(seed: int) -> None:
    visits = Scene(seed, mean_gap_s=0.5).visits(120)

    entries = [visit.enter_s for visit in visits]
    exits = sorted(visit.leave_s for visit in visits)

    assert all(later - earlier >= MIN_ORDER_S - 1e-6 for earlier, later in pairwise(entries))
    assert all(later - earlier >= MIN_ORDER_S - 1e-6 for earlier, later in pairwise(exits))


@QUICK
@given(seed=seeds)
def test_never_more_than_three_in_view_and_no_two_alike(seed: int) -> None:
    visits = Scene(seed, mean_gap_s=0.5).visits(120)

    for moment in np.arange(0, 115, 0.5):
        present = [visit.name for visit in visits if visit.is_in_view(float(moment))]
        assert len(present) <= MAX_IN_VIEW
        assert len(set(present)) == len(present)


@QUICK
@given(seed=seeds)
def test_the_centre_crosses_the_edge_when_the_log_says(seed: int) -> None:
    for visit in Scene(seed, mean_gap_s=1).visits(60):
        for moment in (visit.enter_s, visit.leave_s):
            x, _ = visit.centre(moment)
            assert min(abs(x), abs(x - 1)) < 1e-6
        inside_s = np.linspace(visit.enter_s + 0.01, visit.leave_s - 0.01, 9)
        assert all(0 <= visit.centre(float(at_s))[0] <= 1 for at_s in inside_s)
        assert all(0 < visit.centre(float(at_s))[1] < 1 for at_s in inside_s)


@QUICK
@given(seed=seeds)
def test_a_visit_is_visible_while_any_part_of_it_is_in_the_frame(seed: int) -> None:
    street = Scene(seed, mean_gap_s=3)
    for visit in street.visits(60):
        first_s, last_s = visit.visible_s
        assert first_s < visit.enter_s
        assert last_s > visit.leave_s
        for at_s in np.linspace(first_s + 1e-3, last_s - 1e-3, 7):
            assert visit in street.visible(float(at_s))
        assert visit not in street.visible(first_s - 1e-3)
        assert visit not in street.visible(last_s + 1e-3)


def test_kinds_and_colours_return_often() -> None:
    visits = [visit for seed in range(10) for visit in Scene(seed).visits(200)]
    returning = 0
    for seed in range(10):
        seen: list[str] = []
        for visit in Scene(seed).visits(200):
            returning += visit.name in seen[-12:]
            seen.append(visit.name)

    assert returning / len(visits) > 0.15
    assert {visit.kind for visit in visits} == set(KINDS)
    assert {visit.colour for visit in visits} == set(COLOURS)


def test_two_of_a_kind_are_sometimes_in_view_together() -> None:
    pairs = 0
    for seed in range(20):
        visits = Scene(seed, mean_gap_s=1).visits(100)
        for earlier, later in pairwise(visits):
            pairs += earlier.kind == later.kind and earlier.leave_s > later.enter_s

    assert pairs > 0


def test_default_scene_has_long_quiet_gaps() -> None:
    gaps = [
        later.enter_s - earlier.enter_s for seed in range(5) for earlier, later in pairwise(Scene(seed).visits(600))
    ]

    assert max(gaps) > 15
    assert sum(gaps) / len(gaps) < 15


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 360), (97, 31)])
def test_a_frame_does_not_depend_on_earlier_calls(width: int, height: int) -> None:
    first, second = Scene(3, mean_gap_s=1), Scene(3, mean_gap_s=1)
    first.frame(50, width, height)

    picture = first.frame(12.3, width, height)

    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, second.frame(12.3, width, height))


def test_a_small_frame_resembles_a_large_one_scaled_down() -> None:
    scene = Scene(5, mean_gap_s=1)
    for at_s in (4.0, 9.0, 16.0):
        small = scene.frame(at_s, 64, 64).astype(float)
        large = scene.frame(at_s, 640, 384).astype(float).reshape(64, 6, 64, 10, 3).mean((1, 3))
        assert np.abs(small - large).mean() < 6


def test_a_visitor_changes_the_frame_at_its_box() -> None:
    scene = Scene(8, mean_gap_s=4)
    visit = scene.visits(60)[0]
    at_s = (visit.enter_s + visit.leave_s) / 2
    x, y = visit.centre(at_s)

    empty = scene.frame(0.0, 64, 64).astype(int)
    change = np.abs(scene.frame(at_s, 64, 64).astype(int) - empty).sum(2)

    middle = change[int(y * 64) - 3 : int(y * 64) + 3, max(0, int(x * 64) - 3) : int(x * 64) + 3].mean()
    assert middle > 3 * np.median(change)


def test_noise_differs_from_frame_to_frame_and_light_drifts() -> None:
    scene = Scene(2, mean_gap_s=1000)
    frames = [scene.frame(at_s, 64, 64).astype(float) for at_s in (0.0, 0.5, 60.0)]

    assert 0 < np.abs(frames[0] - frames[1]).mean() < 5
    assert abs(frames[0].mean() - frames[2].mean()) > abs(frames[0].mean() - frames[1].mean())


def test_a_gap_must_be_positive() -> None:
    with pytest.raises(ValueError, match="mean_gap_s is 0"):
        Scene(1, mean_gap_s=0)


def test_visitors_of_a_burst_come_close_on_one_another_and_then_it_is_quiet() -> None:
    entries = [visit.enter_s for visit in Scene(3, mean_gap_s=30, burst=3).visits(3_000)]

    gaps = [later - earlier for earlier, later in pairwise(entries)]
    inside = [gap for place, gap in enumerate(gaps, start=1) if place % 3]
    between = [gap for place, gap in enumerate(gaps, start=1) if not place % 3]

    assert np.median(inside) < 4
    assert np.median(between) > 30


def test_switched_lamps_change_the_light_at_once_and_no_visits() -> None:
    steady, switched = Scene(4), Scene(4, switch_every_s=15)

    assert steady.visits(100) == switched.visits(100)
    light = [float(switched.frame(second / 2, 64, 64).mean()) for second in range(200)]
    jumps = np.abs(np.diff(light))
    assert (jumps > 10).sum() >= 2
    assert np.median(jumps) < 2


@pytest.mark.parametrize("wrong", [{"mean_gap_s": 0}, {"burst": 0}, {"switch_every_s": 0}])
def test_a_wrong_argument_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Scene(1, **wrong)  # type: ignore[arg-type]
