"""A watch says when pictures are black, stand still, or show another scene, and not when the light changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.scenes.scene import Scene
from pipeline.decoding.images import Pixels
from pipeline.picture_note import PictureNote
from pipeline.sources import picture_watch
from pipeline.sources.picture_watch import ACCEPTED_AFTER_S, BLOCK, COLUMNS, LEARNT_AFTER_S, ROWS, PictureWatch

BLACK, FROZEN, CHANGED = PictureNote
EVERY_S = 5.0
STREET = [Scene(3).frame(EVERY_S * number, 320, 180) for number in range(40)]
NORMAL = np.random.default_rng(1).integers(40, 120, (ROWS * BLOCK, COLUMNS * BLOCK)).astype(np.float32)


def street(number: int) -> Pixels:
    return STREET[number % len(STREET)]


def shown(watch: PictureWatch, picture: Callable[[int], Pixels], times_s: Iterable[float]) -> list[PictureNote | None]:
    """The note after each picture."""
    notes = []
    for number, time_s in enumerate(times_s):
        watch.look(picture(number), time_s)
        notes.append(watch.note)
    return notes


def times(start_s: float, until_s: float) -> Iterable[float]:
    return np.arange(start_s, until_s, EVERY_S)


def watch_that_knows_the_street() -> tuple[PictureWatch, float]:
    watch, until_s = PictureWatch(), LEARNT_AFTER_S + 100
    assert set(shown(watch, street, times(0, until_s))) == {None}
    return watch, until_s


def black(number: int) -> Pixels:
    """With a clock."""
    picture = np.random.default_rng(number).integers(0, 10, (180, 320, 3), dtype=np.uint8)
    picture[5:15, 5:105] = 255 * (number % 2)
    return picture


def dark_yard(number: int) -> Pixels:
    """A night in which a lamp far away is all that can be seen."""
    picture = np.random.default_rng(number).integers(0, 10, (180, 320, 3), dtype=np.uint8)
    picture[80:86, 150:156] = 250
    return picture


def covered(number: int) -> Pixels:
    return np.random.default_rng(number).integers(100, 104, (180, 320, 3), dtype=np.uint8)


def blurred(number: int) -> Pixels:
    rough = street(number).reshape(9, 20, 16, 20, 3).mean((1, 3)).astype(np.uint8)
    return rough.repeat(20, axis=0).repeat(20, axis=1)


def turned(number: int) -> Pixels:
    return np.roll(street(number), (25, 70), axis=(0, 1))


def lamps(number: int) -> Pixels:
    """A tenth to one and a half of the light."""
    return np.clip(street(number) * (0.25, 1.0, 0.5, 1.5)[number // 30 % 4], 0, 255).astype(np.uint8)


def fog(number: int) -> Pixels:
    return (0.4 * street(number) + 100).astype(np.uint8)


def bus(number: int) -> Pixels:
    """Stands for a minute in front of nearly everything, then drives on."""
    return covered(number) if number % 24 < 12 else street(number)


def test_a_black_picture_is_noted_after_ten_looks_and_well_when_it_was_bright_for_five_seconds() -> None:
    watch = PictureWatch()

    shown(watch, street, range(20))
    dark = shown(watch, black, range(20, 40))
    bright = shown(watch, street, range(40, 50))

    assert dark == [None] * 10 + [BLACK] * 10
    assert bright == [BLACK] * 5 + [None] * 5


def test_a_night_with_a_lamp_is_not_black() -> None:
    assert set(shown(PictureWatch(), dark_yard, range(60))) == {None}


def test_a_picture_that_stands_still_for_a_minute_is_frozen_though_its_clock_runs_on() -> None:
    def frozen(number: int) -> Pixels:
        picture = street(0).copy()
        picture[5:15, 5:25] = 255 * (number % 2)
        return picture

    watch = PictureWatch()
    still = shown(watch, frozen, range(100))
    moving = shown(watch, street, range(100, 110))

    assert still == [None] * 61 + [FROZEN] * 39
    assert moving == [FROZEN] * 6 + [None] * 4  # the first one is the same picture


def test_a_street_without_visitors_is_not_frozen_for_its_sensor_has_noise() -> None:
    quiet = Scene(3, mean_gap_s=1e9)

    assert set(shown(PictureWatch(), lambda number: quiet.frame(number, 320, 180), range(150))) == {None}


@pytest.mark.parametrize("other", [covered, blurred, turned])
def test_another_scene_is_noted_after_minutes_and_its_return_ends_the_note(other: Callable[[int], Pixels]) -> None:
    watch, now_s = watch_that_knows_the_street()

    changed = shown(watch, other, times(now_s, now_s + 300))
    back = shown(watch, street, times(now_s + 300, now_s + 400))

    assert changed.index(CHANGED) in range(24, 36)
    assert set(changed[: changed.index(CHANGED)]) == {None}
    assert changed[-1] is CHANGED
    assert back[-1] is None


@pytest.mark.parametrize("normal", [lamps, fog, bus])
def test_light_fog_and_what_passes_are_no_other_scene(normal: Callable[[int], Pixels]) -> None:
    watch, now_s = watch_that_knows_the_street()

    assert set(shown(watch, normal, times(now_s, now_s + 900))) == {None}


def test_a_changed_scene_is_the_normal_one_after_a_day_and_the_old_one_is_another_then() -> None:
    watch, now_s = watch_that_knows_the_street()
    assert shown(watch, turned, times(now_s, now_s + 200))[-1] is CHANGED
    next_day_s = now_s + 200 + ACCEPTED_AFTER_S

    accepted = shown(watch, turned, times(next_day_s, next_day_s + 2 * LEARNT_AFTER_S))
    back = shown(watch, street, times(next_day_s + 2 * LEARNT_AFTER_S, next_day_s + 3 * LEARNT_AFTER_S))

    assert set(accepted) == {None}
    assert back[-1] is CHANGED


def test_what_stood_in_front_of_the_camera_at_first_and_left_is_not_the_scene() -> None:
    watch = PictureWatch()

    assert set(shown(watch, covered, times(0, 60))) == {None}
    assert set(shown(watch, street, times(60, 1_500))) == {None}


def test_black_comes_before_still_and_still_before_another_scene() -> None:
    watch, now_s = watch_that_knows_the_street()
    once = turned(0)

    frozen = shown(watch, lambda _: once, times(now_s, now_s + 300))
    dark = shown(watch, black, times(now_s + 300, now_s + 600))

    assert frozen[-1] is FROZEN
    assert dark[-1] is BLACK


def test_a_camera_that_gives_a_picture_a_minute_is_noted_after_ten() -> None:
    notes = shown(PictureWatch(), black, range(0, 720, 60))

    assert notes == [None] * 9 + [BLACK] * 3


def test_each_note_needs_ten_looks_of_its_own_wherever_it_comes() -> None:
    """What was seen before a note, and what ended it, are no looks of the next one."""
    watch, dark = PictureWatch(), [None] * 9 + [BLACK] * 3

    bright = shown(watch, street, range(0, 180, 60))
    first = shown(watch, black, range(180, 900, 60))
    again = shown(watch, street, range(900, 1_020, 60))
    second = shown(watch, black, range(1_020, 1_740, 60))

    assert (bright, first, again, second) == ([None] * 3, dark, [BLACK, None], dark)


def test_a_night_whose_lamp_keeps_it_from_being_black_is_too_dark_to_be_another_scene() -> None:
    watch, now_s = watch_that_knows_the_street()

    assert set(shown(watch, dark_yard, times(now_s, now_s + 900))) == {None}


def test_the_time_that_a_camera_was_away_teaches_no_scene() -> None:
    watch = PictureWatch()
    shown(watch, street, times(0, 100))
    shown(watch, street, times(4_000, 4_100))

    assert set(shown(watch, turned, times(4_100, 4_400))) == {None}


def test_what_stays_for_half_an_hour_is_part_of_the_scene() -> None:
    """First the left half of the picture changes, later the right one: never most of what is normal by then."""

    def half(number: int) -> Pixels:
        picture = street(number).copy()
        picture[:, :160] = turned(number)[:, :160]
        return picture

    watch, now_s = watch_that_knows_the_street()
    later_s = now_s + 2 * 3_600

    assert set(shown(watch, half, times(now_s, later_s))) == {None}
    assert set(shown(watch, turned, times(later_s, later_s + 600))) == {None}


def test_of_several_pictures_a_second_one_is_looked_at() -> None:
    """Otherwise the pictures in between would end the stillness, and cost time."""

    def flickers(number: int) -> Pixels:
        return street(number % 4)

    assert shown(PictureWatch(), flickers, np.arange(0, 70, 0.25))[-1] is FROZEN


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255)), max_size=12))
@settings(deadline=None, max_examples=30)
def test_pictures_of_any_size_are_looked_at(sizes: list[tuple[int, int, int]]) -> None:
    watch = PictureWatch()

    for number, (height, width, level) in enumerate(sizes):
        watch.look(np.full((height, width, 3), level, np.uint8), EVERY_S * number)

    assert watch.note in (None, BLACK)


@given(st.floats(0.2, 2.0), st.floats(0.35, 1.0))
@settings(deadline=None, max_examples=50)
def test_another_light_and_less_contrast_change_no_block(light: float, contrast: float) -> None:
    mean = NORMAL.mean()
    picture = light * (mean + contrast * (NORMAL - mean)).astype(np.float32)

    assert picture_watch.changed_share(picture, NORMAL) == 0


@given(st.integers(5, COLUMNS * BLOCK - 5), st.integers(5, ROWS * BLOCK - 5))
@settings(deadline=None, max_examples=50)
def test_a_turn_changes_nearly_every_block(across: int, down: int) -> None:
    assert picture_watch.changed_share(np.roll(NORMAL, (down, across), axis=(0, 1)), NORMAL) > 0.9


def test_a_bare_wall_cannot_be_judged() -> None:
    assert picture_watch.changed_share(NORMAL, np.full_like(NORMAL, 90)) == 0
