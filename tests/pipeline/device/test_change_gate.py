"""The static gate: of a still scene only key frames pass, and every change in it passes."""

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
from tests.conftest import grid
from tests.pipeline.playing import running_feed

PATCHES, SIDE, FPS, STEP = 16, 64, 2.0, 4
NO_VISITORS_S = 1e9
KEY_FRAME_EVERY_S = 30.0


def new_gate(cells_per_side: int = 4) -> StaticGate:
    return StaticGate(lambda *_: (cells_per_side, cells_per_side), key_frame_every_s=KEY_FRAME_EVERY_S)


def admitted(gate: ChangeGate, frames: Tensor, first_frame: int = 0) -> Tensor:
    """The patches that the gate admits of frames that come step by step. -> bool [F, P]"""
    times_s = [(first_frame + frame) / FPS for frame in range(len(frames))]
    steps = range(0, len(frames), STEP)
    return torch.cat([gate.admit(frames[at : at + STEP], times_s[at : at + STEP]) for at in steps])


def rendered(scene: Scene, frames: range) -> Tensor:
    return torch.from_numpy(np.stack([scene.frame(frame / FPS, SIDE, SIDE) for frame in frames]))


def noisy(num_frames: int, *, depth: float = 2.0, seed: int = 0) -> Tensor:
    """A still scene with sensor noise. float [F, 64, 64, 3], to be rounded"""
    generator = torch.Generator().manual_seed(seed)
    background = 60 + 100 * torch.rand(8, 8, 3, generator=generator)
    background = background.repeat_interleave(SIDE // 8, dim=0).repeat_interleave(SIDE // 8, dim=1)
    return background + depth * torch.randn(num_frames, SIDE, SIDE, 3, generator=generator)


def pixels(frames: Tensor) -> Tensor:
    return frames.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_of_a_still_street_one_whole_frame_passes_per_period(seed: int) -> None:
    """With noise and drifting light, one of 60 frames in 30 s."""
    passed = admitted(new_gate(), rendered(Scene(seed, mean_gap_s=NO_VISITORS_S), range(480)))

    has_passed = passed[8:].any(dim=1)
    assert int(has_passed.sum()) == (480 - 8) // (KEY_FRAME_EVERY_S * FPS)
    assert bool(passed[8:][has_passed].all())


@pytest.mark.parametrize("codec", ["h264", "vp9", "mjpeg"])
def test_coding_noise_of_a_still_street_mostly_does_not_pass(codec: Codec, tmp_path: Path) -> None:
    """Through the real decoders: at most one in eight frames without a visitor passes, and every visitor does."""
    scene, started_s = Scene(77, mean_gap_s=14.0), 1_000.0
    images = (scene.frame(frame / 4, 640, 360) for frame in range(4 * 60))
    video_writer.write_video(images, tmp_path / "street", fps=4.0, codec=codec)
    with running_feed(str(tmp_path / "street"), PlaybackSpeed.FAST, started_s=started_s) as running:
        clips = running.take_until_over()

    gate = new_gate()
    passed = torch.cat([gate.admit(torch.as_tensor(clip.frames), clip.times_s) for clip in clips])
    times_s = [time_s - started_s for clip in clips for time_s in clip.times_s]

    assert len(times_s) > 100
    is_quiet = [not any(scene.visible(time_s + offset_s) for offset_s in (-2, -1, 0, 1, 2)) for time_s in times_s]
    is_quiet[:8] = [False] * 8
    assert sum(is_quiet) > 30
    assert passed[torch.tensor(is_quiet)].any(dim=1).float().mean() < 1 / 8
    for visit in scene.visits(times_s[-1] - 1):
        first = next(index for index, time_s in enumerate(times_s) if time_s >= visit.enter_s)
        assert bool(passed[first].any()), visit


@pytest.mark.parametrize("seed", range(8))
def test_the_patch_of_every_visitor_passes_as_soon_as_it_is_in_view(seed: int) -> None:
    scene = Scene(100 + seed, mean_gap_s=8.0, burst=1 + seed % 3, switch_every_s=30.0 if seed % 2 else None)
    passed = admitted(new_gate(), rendered(scene, range(400)))
    visits = [visit for visit in scene.visits(198.0) if visit.enter_s > 4]

    assert len(visits) >= 8
    for visit in visits:
        first = math.ceil(visit.enter_s * FPS)
        column, row = (min(int(4 * share), 3) for share in visit.centre(first / FPS))
        assert bool(passed[first, 4 * row + column]), visit


def test_the_patch_of_a_visitor_passes_again_when_it_has_left() -> None:
    frames = noisy(40)
    frames[12:24, :16, :16] = 250

    passed = admitted(new_gate(), pixels(frames))

    assert bool(passed[12, 0])
    assert not bool(passed[16:24].any())
    assert bool(passed[24, 0])
    assert not bool(passed[28:].any())


def test_a_step_with_a_changed_patch_ends_with_a_whole_frame() -> None:
    """Also if nothing changed after that patch."""
    frames = noisy(40)
    frames[21:23, 20:28, 36:44] += 60
    frames[28:, 20:28, 36:44] += 60

    passed = admitted(new_gate(), pixels(frames))

    assert passed[20:24].sum(dim=1).tolist() == [0, 1, 0, PATCHES]
    assert passed[24:36].sum(dim=1).tolist() == [0, 0, 0, 0, 1, 0, 0, PATCHES, 0, 0, 0, 0]


def test_when_lamps_go_off_at_most_one_step_passes() -> None:
    frames = noisy(60)
    frames[20:] *= torch.tensor([0.72, 0.76, 0.86])

    passed = admitted(new_gate(), pixels(frames))

    assert not bool(passed[8:20].any())
    assert not bool(passed[24:].any())


def test_a_switch_to_infrared_passes_once_whole() -> None:
    """Colours become grey, which is more than a common gain."""
    frames = noisy(60)
    frames[20:] = frames[20:].mean(dim=3, keepdim=True).expand(-1, -1, -1, 3) * 1.3

    passed = admitted(new_gate(), pixels(frames))

    assert bool(passed[20].all())
    assert not bool(passed[24:].any())


def test_a_covered_lens_is_a_change() -> None:
    frames = noisy(24)
    frames[20:] = 3.0

    assert bool(admitted(new_gate(), pixels(frames))[20].all())


def test_a_change_too_slow_to_be_noticed_between_two_frames_adds_up_until_it_passes() -> None:
    """A corner brightens by a third of a level a frame, a sixth of the noise of a pixel."""
    frames = noisy(56)
    frames[:, :16, :16] += (torch.arange(56.0) / 3)[:, None, None, None]

    passed = admitted(new_gate(), pixels(frames))

    intervals = passed[8:, 0].nonzero().flatten().diff()
    assert intervals.numel() >= 2
    assert int(intervals.max()) / 3 < 10


def test_a_picture_that_moves_as_a_whole_always_passes() -> None:
    """Such movement must not count as noise."""
    generator = torch.Generator().manual_seed(1)
    wall = torch.randint(0, 256, (SIDE, 4 * SIDE, 3), dtype=torch.uint8, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(wall.permute(2, 0, 1).float(), 9, 1, 4).permute(1, 2, 0) * 3 - 250
    frames = pixels(torch.stack([smooth[:, at : at + SIDE] for at in range(0, 160, 2)]))

    assert admitted(new_gate(), frames).float().mean() > 0.9


@pytest.mark.parametrize("depth", [0.0, 1.0, 3.0, 6.0])
def test_the_threshold_follows_the_cameras_own_noise(depth: float) -> None:
    """From a drawing without noise to a dark street at high gain, nothing passes of a still scene."""
    passed = admitted(new_gate(), pixels(noisy(80, depth=depth)))

    assert not bool(passed[8:60].any())


def test_after_invalidation_the_next_frame_passes_whole() -> None:
    gate, frames = new_gate(), pixels(noisy(24))
    admitted(gate, frames[:16])

    gate.invalidate()

    assert bool(admitted(gate, frames[16:], 16)[0].all())


def test_a_gate_works_on_any_square_grid_of_patches() -> None:
    frames = noisy(16)
    frames[12:, :9, :9] = 0
    passed = admitted(new_gate(14), pixels(frames))

    assert set(passed[12].nonzero().flatten().tolist()) == {0, 1, 14, 15}


def test_an_open_gate_admits_every_patch() -> None:
    assert bool(admitted(OpenGate(grid), pixels(noisy(20))).all())
