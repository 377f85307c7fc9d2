"""The labels of a frame's cells agree with the event log."""

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.scenes.scene import Scene
from models.tiny.scenes.visits import COLOURS, KINDS
from models.tiny.training.labels import COMING, ENTERED, IGNORED, LEFT, STAYING, label_cells, label_events

SEEDS = st.integers(0, 2**32)


def some_times(seed: int, frames: int = 24) -> list[float]:
    step_s = random.Random(seed).uniform(0.45, 1.0)
    return [0.2 + index * step_s for index in range(frames)]


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_every_visitor_in_view_has_entered_once_and_stays(seed: int) -> None:
    scene, times = Scene(seed, mean_gap_s=2.0), some_times(seed)
    cells, events = label_cells(scene, times)[0], label_events(scene, times)

    before_s = 0.0
    for index, at_s in enumerate(times):
        for visit in scene.visible(at_s):
            name = (1 + KINDS.index(visit.kind), 1 + COLOURS.index(visit.colour))
            seen = set(events[index][(cells[index] == name).all(1), 0].tolist())
            true = (
                COMING if at_s < visit.enter_s
                else LEFT if at_s >= visit.leave_s
                else ENTERED if visit.enter_s > before_s
                else STAYING
            )  # fmt: skip
            assert seen <= {true}
        before_s = at_s


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_highest_number_of_a_kind_so_far_is_how_many_there_were(seed: int) -> None:
    scene, times = Scene(seed, mean_gap_s=2.0), some_times(seed, 16)
    cells, events = label_cells(scene, times)[0], label_events(scene, times)

    for kind_id, kind in enumerate(KINDS, start=1):
        came = [visit for visit in scene.visits(times[-1] + 2) if visit.kind == kind]
        numbers = set(events[..., 1][cells[..., 0] == kind_id].tolist()) - {IGNORED}
        assert numbers <= set(range(len(came)))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_an_exit_is_labelled_in_the_next_frame_only(seed: int) -> None:
    scene, times = Scene(seed, mean_gap_s=2.0), some_times(seed)

    events = label_events(scene, times)

    left = [(KINDS[kind - 1], COLOURS[colour - 1]) for kind, colour in events[:, 0, 2:] if kind]
    departed = sorted(
        (visit for visit in scene.visits(times[-1]) if visit.leave_s <= times[-1]), key=lambda v: v.leave_s
    )
    remaining = iter((visit.kind, visit.colour) for visit in departed)
    assert all(one in remaining for one in left)
    assert (events[..., 2:] == events[:, :1, 2:]).all()
    close = sum(later.leave_s - earlier.leave_s < times[1] - times[0] for earlier, later in pairwise(departed))
    assert len(left) >= len(departed) - close
