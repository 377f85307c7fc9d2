"""A camera's memory: skipped frames count as seen, and a checkpoint loses nothing of a still scene."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cache_store import checkpoint_codec
from cache_store.gap import Gap
from cache_store.memory import Memory
from cache_store.policies import POLICIES, Policy
from cache_store.tiers import MemoryConfig, PolicyName
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline.decoding import images
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate, StaticGate
from pipeline.sources.clips import Clip
from tests.conftest import TOKENS_PER_FRAME, grid, new_memory, numbered, random_frames

LAYERS = 6


def new_camera(
    model: LlavaOnevision,
    *,
    tokens_per_layer: int = 128,
    is_gated: bool = True,
    writer: MemoryWriter | None = None,
    policy: Policy | None = None,
) -> CameraMemory:
    config = MemoryConfig(tokens_per_layer=tokens_per_layer, recent_frames=4)
    writer = writer or MemoryWriter(model, config, max_frames=8, reserve=128, policy=policy)
    static = StaticGate(grid, key_frame_every_s=30.0)
    gate = static if is_gated else OpenGate(grid)
    return CameraMemory("lobby", new_memory(writer), writer, gate, gap_after_s=3.0, started_s=0.0)


def preview(time_s: float) -> Tensor:
    """A preview that no other time has."""
    return torch.full((9, 16, 3), int(2 * time_s) % 256, dtype=torch.uint8)


def append(camera: CameraMemory, frames: Tensor, *, first_s: float) -> None:
    """Appends frames half a second apart in clips of four."""
    for start in range(0, len(frames), 4):
        camera.append(clip_of(frames[start : start + 4], first_s + start / 2))


def clip_of(frames: Tensor, first_s: float) -> Clip:
    times_s = tuple(first_s + frame / 2 for frame in range(len(frames)))
    return Clip("lobby", frames, times_s, tuple(map(preview, times_s)), times_s[-1])


def still(num_frames: int, seed: int = 0) -> Tensor:
    return random_frames(1, seed).expand(num_frames, -1, -1, -1)


def frames_of(memory: Memory) -> set[int]:
    return set((numbered(memory.after_prefix(0).token_ids) // TOKENS_PER_FRAME).tolist())


def test_frames_of_a_still_picture_count_as_seen_and_add_no_tokens(model: LlavaOnevision) -> None:
    camera = new_camera(model)
    append(camera, still(40), first_s=100.0)

    status = camera.status(0)
    assert status.frames_seen == 40
    assert status.newest_s == 119.5
    assert status.gaps == ()
    assert status.tokens_read == 4 * TOKENS_PER_FRAME  # the noise of the camera is unknown until then
    assert status.recent_window_tokens == 4 * TOKENS_PER_FRAME * LAYERS


def test_the_newest_frame_in_a_memory_stays_whole_however_long_nothing_changes(
    model: LlavaOnevision,
) -> None:
    """What is in view now is answered from the newest frame in the memory."""
    camera = new_camera(model, tokens_per_layer=66)
    append(camera, random_frames(24), first_s=0.0)
    append(camera, still(400, seed=9), first_s=12.0)

    for layer in range(LAYERS):
        ids = numbered(camera.memory.after_prefix(layer).token_ids)
        newest = ids[ids >= TOKENS_PER_FRAME * (camera.memory.next_frame - 1)]
        assert len(newest) == TOKENS_PER_FRAME
    newest_cached_s = float(camera.memory.after_prefix(0).times_s.max())
    assert camera.newest_s is not None
    assert camera.newest_s - newest_cached_s < 30.0


def test_thumbnails_are_those_of_the_cached_frames(model: LlavaOnevision) -> None:
    camera = new_camera(model)
    frames = still(24).clone()
    frames[13, :16, :16] ^= 128
    append(camera, frames, first_s=100.0)

    tokens = camera.memory.after_prefix(0)
    for frame in frames_of(camera.memory):
        time_s = float(tokens.times_s[numbered(tokens.token_ids) // TOKENS_PER_FRAME == frame][0])
        assert camera.thumbnails.get(frame) == images.encode_jpeg(preview(time_s))
    assert len(camera.thumbnails) == len(frames_of(camera.memory)) < 12


def test_without_a_recent_window_a_checkpoint_leaves_out_no_frame(model: LlavaOnevision) -> None:
    camera = new_camera(model, is_gated=False, policy=POLICIES[PolicyName.HERMES])
    append(camera, random_frames(24), first_s=100.0)

    saved = camera.snapshot(0, 121.0)

    assert (saved.facts.newest_s, camera.status(0).recent_window_tokens) == (111.5, 0)
    assert int(numbered(saved.layers[0].token_ids).max()) == 24 * TOKENS_PER_FRAME - 1
    assert [len(tokens) for tokens in saved.layers] == [128] * LAYERS


def test_a_time_without_frames_is_a_gap_and_a_still_picture_is_not(model: LlavaOnevision) -> None:
    camera = new_camera(model)
    append(camera, still(40), first_s=100.0)
    append(camera, still(4), first_s=130.0)

    assert list(camera.gaps) == [Gap(119.5, 130.0, "no frames")]


class ExhaustedWriter(MemoryWriter):
    """A writer whose device is out of memory for a while."""

    is_exhausted = False

    def prefill_steps(self, *steps: Any) -> None:
        if self.is_exhausted:
            raise torch.OutOfMemoryError("out of memory")
        super().prefill_steps(*steps)


def test_frames_that_the_device_failed_to_append_are_not_taken_for_appended(model: LlavaOnevision) -> None:
    """A change while the device is out of memory, and that lasts, is appended as soon as the device works again."""
    config = MemoryConfig(tokens_per_layer=128, recent_frames=4)
    writer = ExhaustedWriter(model, config, max_frames=8, reserve=128)
    camera = new_camera(model, writer=writer)
    append(camera, still(8), first_s=0.0)
    before = camera.tokens_read
    writer.is_exhausted = True
    for first_s in (4.0, 6.0):
        lost = clip_of(still(4, seed=3), first_s)
        with pytest.raises(torch.OutOfMemoryError):
            camera.append(lost)
        assert camera.lose(lost) == 4
    assert list(camera.gaps) == [Gap(3.5, 7.5, "the device failed at these frames")]
    writer.is_exhausted = False

    append(camera, still(4, seed=3), first_s=8.0)

    assert camera.tokens_read == before + TOKENS_PER_FRAME
    assert camera.frames_seen == 12
    assert list(camera.gaps) == [Gap(3.5, 8.0, "the device failed at these frames")]
    append(camera, still(4, seed=3), first_s=20.0)
    assert camera.gaps[-1] == Gap(9.5, 20.0, "no frames")


@pytest.mark.parametrize("is_gated", [True, False])
def test_a_checkpoint_of_a_moving_picture_leaves_out_the_recent_window(model: LlavaOnevision, is_gated: bool) -> None:
    camera = new_camera(model, is_gated=is_gated)
    append(camera, random_frames(40), first_s=100.0)

    saved = camera.snapshot(0, 121.0)

    assert max(int(numbered(layer.token_ids).max()) for layer in saved.layers) < 36 * TOKENS_PER_FRAME
    assert saved.facts.newest_s == 117.5


def test_a_checkpoint_of_a_still_picture_leaves_nothing_out(
    model: LlavaOnevision,
) -> None:
    """The stream would not bring back frames of minutes ago."""
    camera = new_camera(model)
    append(camera, random_frames(20), first_s=100.0)
    append(camera, still(20, seed=7), first_s=110.0)

    saved = camera.snapshot(0, 121.0)

    for index, layer in enumerate(saved.layers):
        assert torch.equal(numbered(layer.token_ids), numbered(camera.memory.after_prefix(index).token_ids))
    assert saved.facts.newest_s == 117.5


def test_a_restored_camera_skips_unchanged_patches_again(model: LlavaOnevision) -> None:
    """Its first frame is appended whole and shows what changed meanwhile."""
    camera = new_camera(model)
    append(camera, random_frames(20), first_s=100.0)
    append(camera, still(20, seed=7), first_s=110.0)
    taken = camera.snapshot(0, 121.0)
    saved = checkpoint_codec.decode([b"".join(checkpoint_codec.encode(taken))], taken.facts, taken.thumbnails)

    other = new_camera(model)
    other.restore(saved)
    append(other, still(40, seed=7), first_s=130.0)

    assert other.gaps[-1] == Gap(117.5, 130.0, "restored from a checkpoint")
    assert other.frames_seen == saved.facts.frames_seen + 40
    assert other.tokens_read == 4 * TOKENS_PER_FRAME
    assert other.memory.next_frame == saved.facts.next_frame + 4


def test_two_snapshots_have_equal_content_ids_only_if_their_tokens_are_equal(
    model: LlavaOnevision,
) -> None:
    camera = new_camera(model)
    frames = torch.cat((random_frames(24), still(48, seed=9), random_frames(8, seed=3), still(40, seed=4)))
    taken = []
    for at in range(0, len(frames), 4):
        append(camera, frames[at : at + 4], first_s=at / 2)
        taken += [camera.snapshot(0, 0.0), camera.snapshot(0, 0.0, is_whole=True)]

    for one in taken:
        for other in taken:
            is_same = all(
                torch.equal(ours.token_ids, theirs.token_ids)
                and torch.equal(ours.positions, theirs.positions)
                and torch.equal(ours.keys, theirs.keys)
                and torch.equal(ours.values, theirs.values)
                for ours, theirs in zip(one.layers, other.layers, strict=True)
            )
            assert is_same or one.content != other.content
    assert len({one.content for one in taken}) < len(taken)
    assert taken[-2].content == taken[-1].content


def test_a_snapshot_is_a_copy_of_all_tokens_older_than_the_frames_left_out(
    model: LlavaOnevision,
) -> None:
    camera = new_camera(model)
    append(camera, random_frames(32), first_s=0.0)
    taken = camera.snapshot(0, 0.0)
    for index, layer in enumerate(taken.layers):
        tokens = camera.memory.after_prefix(index)
        is_older = numbered(tokens.token_ids) < camera.memory.next_frame * TOKENS_PER_FRAME - 4 * TOKENS_PER_FRAME
        assert torch.equal(numbered(layer.token_ids), numbered(tokens.token_ids)[is_older])
        assert torch.equal(layer.keys, tokens.keys[:, is_older])
        before = layer.keys.clone()
        tokens.keys.zero_()
        assert torch.equal(layer.keys, before)


def test_frames_dropped_before_a_restore_are_counted_too(model: LlavaOnevision) -> None:
    camera, restored = new_camera(model, is_gated=False), new_camera(model, is_gated=False)
    append(camera, random_frames(8), first_s=0.0)

    restored.restore(camera.snapshot(5, 10.0))

    assert restored.status(2).frames_dropped == 7
    assert restored.snapshot(2, 20.0).facts.frames_dropped == 7
