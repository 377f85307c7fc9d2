"""The static gate: a still picture costs key frames alone, and nothing that happens in it is missed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.tiny.scenes.scene import Scene
from pipeline.cameras import PlaybackSpeed
from pipeline.decoding import video_writer
from pipeline.decoding.video_writer import Codec
from pipeline.device.change_gate import ChangeGate, OpenGate, StaticGate
from tests.pipeline.playing import running_feed

CELLS, SIDE, FPS, STEP = 16, 64, 2.0, 4
NOBODY_S = 1e9
KEY_FRAME_EVERY_S = 30.0


def new_gate(tokens_per_frame: int = CELLS) -> StaticGate:
    return StaticGate(tokens_per_frame, key_frame_every_s=KEY_FRAME_EVERY_S)


def admitted(entrance: ChangeGate, frames: Tensor, first_frame: int = 0) -> Tensor:
    """What passes of frames that come step by step. -> [F, P]"""
    times_s = [(first_frame + frame) / FPS for frame in range(len(frames))]
    steps = range(0, len(frames), STEP)
    return torch.cat([entrance.admit(frames[at : at + STEP], times_s[at : at + STEP]) for at in steps])


def filmed(world: Scene, frames: range) -> Tensor:
    return torch.from_numpy(np.stack([world.frame(frame / FPS, SIDE, SIDE) for frame in frames]))


def noisy(num_frames: int, *, depth: float = 2.0, seed: int = 0) -> Tensor:
    """A still picture with sensor noise. float [F, 64, 64, 3], to be rounded"""
    generator = torch.Generator().manual_seed(seed)
    place = 60 + 100 * torch.rand(8, 8, 3, generator=generator)
    place = place.repeat_interleave(SIDE // 8, dim=0).repeat_interleave(SIDE // 8, dim=1)
    return place + depth * torch.randn(num_frames, SIDE, SIDE, 3, generator=generator)


def pixels(pictures: Tensor) -> Tensor:
    return pictures.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_still_street_costs_one_whole_frame_every_period(seed: int) -> None:
    """With noise and drifting light: 60 frames in 30 s, one of them read."""
    passed = admitted(new_gate(), filmed(Scene(seed, mean_gap_s=NOBODY_S), range(480)))

    read = passed[8:].any(dim=1)
    assert int(read.sum()) == (480 - 8) // (KEY_FRAME_EVERY_S * FPS)
    assert bool(passed[8:][read].all())


@pytest.mark.parametrize("codec", ["h264", "vp9", "mjpeg"])
def test_what_a_codec_makes_of_a_still_street_is_mostly_left_unread(codec: Codec, tmp_path: Path) -> None:
    """Through the real decoders: of the frames that show nobody one in eight is read at most, and every visitor is."""
    world, started_s = Scene(77, mean_gap_s=14.0), 1_000.0
    pictures = (world.frame(frame / 4, 640, 360) for frame in range(4 * 60))
    video_writer.write_video(pictures, tmp_path / "street", fps=4.0, codec=codec)
    with running_feed(str(tmp_path / "street"), PlaybackSpeed.FAST, started_s=started_s) as played:
        taken = played.take_until_over()

    entrance = new_gate()
    passed = torch.cat([entrance.admit(clip.frames, clip.times_s) for clip in taken])
    times_s = [time_s - started_s for clip in taken for time_s in clip.times_s]

    assert len(times_s) > 100
    is_quiet = [not any(world.visible(at_s + near) for near in (-2, -1, 0, 1, 2)) for at_s in times_s]
    is_quiet[:8] = [False] * 8
    assert sum(is_quiet) > 30
    assert passed[torch.tensor(is_quiet)].any(dim=1).float().mean() < 1 / 8
    for visit in world.visits(times_s[-1] - 1):
        first = next(index for index, at_s in enumerate(times_s) if at_s >= visit.enter_s)
        assert bool(passed[first].any()), visit


@pytest.mark.parametrize("seed", range(8))
def test_every_visitor_is_read_where_it_is_as_soon_as_it_is_in_view(seed: int) -> None:
    world = Scene(100 + seed, mean_gap_s=8.0, burst=1 + seed % 3, switch_every_s=30.0 if seed % 2 else None)
    passed = admitted(new_gate(), filmed(world, range(400)))
    visits = [visit for visit in world.visits(198.0) if visit.enter_s > 4]

    assert len(visits) >= 8
    for visit in visits:
        first = math.ceil(visit.enter_s * FPS)
        column, row = (min(int(4 * share), 3) for share in visit.centre(first / FPS))
        assert bool(passed[first, 4 * row + column]), visit


def test_where_somebody_was_is_read_anew_when_they_are_gone() -> None:
    pictures = noisy(40)
    pictures[12:24, :16, :16] = 250

    passed = admitted(new_gate(), pixels(pictures))

    assert bool(passed[12, 0])
    assert not bool(passed[16:24].any())
    assert bool(passed[24, 0])
    assert not bool(passed[28:].any())


def test_a_step_in_which_a_part_changed_ends_with_a_whole_frame() -> None:
    """Also one in which nothing followed that change."""
    pictures = noisy(40)
    pictures[21:23, 20:28, 36:44] += 60
    pictures[28:, 20:28, 36:44] += 60

    passed = admitted(new_gate(), pixels(pictures))

    assert passed[20:24].sum(dim=1).tolist() == [0, 1, 0, CELLS]
    assert passed[24:36].sum(dim=1).tolist() == [0, 0, 0, 0, 1, 0, 0, CELLS, 0, 0, 0, 0]


def test_when_lamps_go_off_one_step_is_read_at_most_and_then_all_is_calm() -> None:
    pictures = noisy(60)
    pictures[20:] *= torch.tensor([0.72, 0.76, 0.86])

    passed = admitted(new_gate(), pixels(pictures))

    assert not bool(passed[8:20].any())
    assert not bool(passed[24:].any())


def test_a_switch_to_infrared_is_read_once_whole_and_then_all_is_calm() -> None:
    """Colours fall together into grey, which no common gain explains."""
    pictures = noisy(60)
    pictures[20:] = pictures[20:].mean(dim=3, keepdim=True).expand(-1, -1, -1, 3) * 1.3

    passed = admitted(new_gate(), pixels(pictures))

    assert bool(passed[20].all())
    assert not bool(passed[24:].any())


def test_a_covered_lens_is_a_change() -> None:
    pictures = noisy(24)
    pictures[20:] = 3.0

    assert bool(admitted(new_gate(), pixels(pictures))[20].all())


def test_a_change_too_slow_to_be_seen_from_frame_to_frame_adds_up_until_it_is_read() -> None:
    """A corner that brightens by a third of a level a frame, a sixth of what the noise does to a pixel."""
    pictures = noisy(56)
    pictures[:, :16, :16] += (torch.arange(56.0) / 3)[:, None, None, None]

    passed = admitted(new_gate(), pixels(pictures))

    read = passed[8:, 0].nonzero().flatten().diff()
    assert read.numel() >= 2
    assert int(read.max()) / 3 < 10


def test_a_picture_that_always_moves_is_always_read() -> None:
    """What moves as a whole must not pass for noise."""
    generator = torch.Generator().manual_seed(1)
    world = torch.randint(0, 256, (SIDE, 4 * SIDE, 3), dtype=torch.uint8, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(world.permute(2, 0, 1).float(), 9, 1, 4).permute(1, 2, 0) * 3 - 250
    frames = pixels(torch.stack([smooth[:, at : at + SIDE] for at in range(0, 160, 2)]))

    assert admitted(new_gate(), frames).float().mean() > 0.9


@pytest.mark.parametrize("depth", [0.0, 1.0, 3.0, 6.0])
def test_the_threshold_follows_the_cameras_own_noise(depth: float) -> None:
    """From a drawn picture to a dark street at high gain: still is still."""
    passed = admitted(new_gate(), pixels(noisy(80, depth=depth)))

    assert not bool(passed[8:60].any())


def test_what_could_not_be_read_is_read_whole_next_time() -> None:
    entrance, frames = new_gate(), pixels(noisy(24))
    admitted(entrance, frames[:16])

    entrance.invalidate()

    assert bool(admitted(entrance, frames[16:], 16)[0].all())


def test_cells_of_any_square_grid_are_told_apart() -> None:
    pictures = noisy(16)
    pictures[12:, :9, :9] = 0
    passed = admitted(new_gate(196), pixels(pictures))

    assert set(passed[12].nonzero().flatten().tolist()) == {0, 1, 14, 15}


def test_an_open_gate_lets_everything_pass() -> None:
    assert bool(admitted(OpenGate(CELLS), pixels(noisy(20))).all())
