"""Clips: frames at a steady rate or of a quiet stream, in groups, and questions of every type."""

import random
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.scenes.scene import Scene
from models.tiny.training.clips import ClipOptions, frame_times, group_frames, make_clip, pick_questions, quiet_frames


def test_questions_are_picked_evenly_and_in_order_of_asking() -> None:
    clip = make_clip(random.Random(9), ClipOptions(frames=16, interval_s=1.0, questions=100))

    picked = pick_questions(clip.questions, 8, random.Random(1))

    assert len(picked) == 8
    assert len({question.type for _, question in picked}) >= 4
    assert [moment for moment, _ in picked] == sorted(moment for moment, _ in picked)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 64), interval_s=st.sampled_from([0.5, 0.6, 1.3]))
def test_frames_are_sampled_in_order_about_the_interval_apart(seed: int, frames: int, interval_s: float) -> None:
    times = frame_times(random.Random(seed), frames, interval_s)

    steps = [later - earlier for earlier, later in pairwise(times)]
    assert all(0.35 <= step <= 2.3 * interval_s for step in steps)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(4, 60))
def test_a_quiet_clip_has_the_frames_with_visitors_and_few_empty_ones(seed: int, frames: int) -> None:
    rng = random.Random(seed)
    street = Scene(seed, mean_gap_s=60.0)

    shown = quiet_frames(rng, street, frames, 0.5, 60.0)

    assert len(shown) == frames
    assert shown == sorted(set(shown))
    left_out = set(range(shown[-1])) - set(shown)
    assert not any(street.visible(place * 0.5) for place in left_out)


def test_a_quiet_clip_spans_more_time_than_its_frames() -> None:
    options = ClipOptions(frames=40, interval_s=0.5, questions=8, is_quiet=True)

    clips = [make_clip(random.Random(seed), options) for seed in range(8)]

    assert all(len(clip.stream_groups) == len(clip.pixels) == 40 for clip in clips)
    assert sum(int(clip.stream_groups[-1]) for clip in clips) > 2 * 8 * 40


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), groups=st.integers(1, 40))
def test_a_group_is_two_neighbours_or_one_frame_repeated_and_no_frame_is_left_out(seed: int, groups: int) -> None:
    pairs = group_frames(random.Random(seed), groups, 2)

    assert pairs.shape == (groups, 2)
    assert np.unique(pairs).tolist() == list(range(pairs[-1, -1] + 1))
    assert (np.diff(pairs, axis=1) >= 0).all()
    assert (np.diff(pairs.reshape(-1)) <= 1).all()


def test_groups_of_one_frame_are_the_frames() -> None:
    assert group_frames(random.Random(1), 3, 1).tolist() == [[0], [1], [2]]


def test_the_times_of_pairs_are_the_means_of_their_frames_in_a_stream_that_may_have_run_before() -> None:
    options = ClipOptions(frames=12, interval_s=1.0, questions=4, frames_per_group=2)

    starts = [make_clip(random.Random(seed), options).times_s[0] for seed in range(20)]

    assert min(starts) < 3 < 1_000 < max(starts)
