"""The probabilities that training gives to tokens: uniform, or by change of the image."""

import random

import numpy as np

from models.tiny.network import FRAME_SIDE, TOKENS_PER_FRAME
from models.tiny.scenes.scene import Scene
from models.tiny.training.forgetting import by_chance, by_change, random_kind


def noise(frames: int) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(98, 103, (frames, FRAME_SIDE, FRAME_SIDE, 3))
    return drawn.astype(np.uint8)


def test_by_chance_all_tokens_are_equal() -> None:
    assert by_chance(3 * TOKENS_PER_FRAME, 0.4).tolist() == [0.4] * 3 * TOKENS_PER_FRAME


def test_only_the_cell_that_changed_is_likely_to_stay() -> None:
    pixels = noise(5)
    pixels[3, 16:32, 48:64] = 250  # row 1, column 3 of 4 x 4 cells

    lasting = by_change(pixels, 1.0, 0.0).reshape(5, TOKENS_PER_FRAME)

    changed = {(3, 7), (4, 7)}  # it appears in one frame and leaves in the next
    assert {tuple(place) for place in np.argwhere(lasting > 0).tolist()} == changed


def test_noise_is_no_change() -> None:
    assert not by_change(noise(8), 1.0, 0.0).any()


def test_a_switched_lamp_changes_every_cell() -> None:
    scene = Scene(9, mean_gap_s=500, switch_every_s=20)
    pixels = np.stack([scene.frame(index * 0.5, FRAME_SIDE, FRAME_SIDE) for index in range(120)])

    changed = by_change(pixels, 1.0, 0.0).reshape(120, TOKENS_PER_FRAME).mean(axis=1)

    assert (changed == 1).any()


def test_each_draw_is_a_probability_for_every_token() -> None:
    for seed in range(20):
        drawn = random_kind(random.Random(seed), noise(4))
        assert drawn.shape == (4 * TOKENS_PER_FRAME,)
        assert (drawn >= 0).all()
        assert (drawn <= 1).all()
