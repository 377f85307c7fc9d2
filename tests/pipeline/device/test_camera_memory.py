"""A gated camera: what is not read is seen all the same, and nothing of a still picture is lost in a crash."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cache_store import checkpoint_codec
from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline import answers
from pipeline.decoding import images
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate, StaticGate
from pipeline.sources.clips import Clip
from tests.conftest import TOKENS_PER_FRAME, new_memory, random_frames

LAYERS = 6


def new_camera(
    model: LlavaOnevision,
    *,
    tokens_per_layer: int = 128,
    is_gated: bool = True,
    kind: type[MemoryWriter] = MemoryWriter,
) -> CameraMemory:
    config = MemoryConfig(tokens_per_layer=tokens_per_layer, recent_frames=4)
    reader = kind(model, config, max_frames=8, reserve=128)
    static = StaticGate(TOKENS_PER_FRAME, key_frame_every_s=30.0)
    entrance = static if is_gated else OpenGate(TOKENS_PER_FRAME)
    return CameraMemory("lobby", new_memory(reader), reader, entrance, gap_after_s=3.0, started_s=0.0)


def preview(moment: float) -> Tensor:
    """One that no other moment has."""
    return torch.full((9, 16, 3), int(2 * moment) % 256, dtype=torch.uint8)


def show(camera: CameraMemory, shown: Tensor, *, first_s: float) -> None:
    """Feeds pictures half a second apart in clips of four."""
    times_s = [first_s + frame / 2 for frame in range(len(shown))]
    for at in range(0, len(shown), 4):
        moments = tuple(times_s[at : at + 4])
        previews = tuple(preview(moment) for moment in moments)
        camera.append(Clip("lobby", shown[at : at + 4], moments, previews, moments[-1]))


def still(num_frames: int, seed: int = 0) -> Tensor:
    return random_frames(1, seed).expand(num_frames, -1, -1, -1)


def frames_of(held: Memory) -> set[int]:
    return set((held.after_prefix(0).token_ids // TOKENS_PER_FRAME).tolist())


def test_a_still_picture_is_seen_and_not_read(model: LlavaOnevision) -> None:
    camera = new_camera(model)
    show(camera, still(40), first_s=100.0)

    status = camera.status(0)
    assert status.frames_seen == 40
    assert status.newest_s == 119.5
    assert status.gaps == ()
    assert status.tokens_read == 4 * TOKENS_PER_FRAME  # until the noise is known
    assert status.recent_window_tokens == 4 * TOKENS_PER_FRAME * LAYERS


def test_what_was_read_of_a_still_picture_stays_whole_however_long_nothing_happens(
    model: LlavaOnevision,
) -> None:
    """What is in view now is answered from the newest frame that was read."""
    camera = new_camera(model, tokens_per_layer=66)
    show(camera, random_frames(24), first_s=0.0)
    show(camera, still(400, seed=9), first_s=12.0)

    for layer in range(LAYERS):
        ids = camera.memory.after_prefix(layer).token_ids
        newest = ids[ids >= TOKENS_PER_FRAME * (camera.memory.next_frame - 1)]
        assert len(newest) == TOKENS_PER_FRAME
    newest_read_s = float(camera.memory.after_prefix(0).times_s.max())
    assert camera.newest_s is not None
    assert camera.newest_s - newest_read_s < 30.0


def test_pictures_are_kept_of_the_frames_that_were_read_alone(model: LlavaOnevision) -> None:
    camera = new_camera(model)
    shown = still(24).clone()
    shown[13, :16, :16] ^= 128
    show(camera, shown, first_s=100.0)

    tokens = camera.memory.after_prefix(0)
    for frame in frames_of(camera.memory):
        time_s = float(tokens.times_s[tokens.token_ids // TOKENS_PER_FRAME == frame][0])
        assert camera.thumbnails.get(frame) == images.encode_jpeg(preview(time_s))
    assert len(camera.thumbnails) == len(frames_of(camera.memory)) < 12


def test_a_silence_is_a_gap_and_a_still_picture_is_not(model: LlavaOnevision) -> None:
    camera = new_camera(model)
    show(camera, still(40), first_s=100.0)
    show(camera, still(4), first_s=130.0)

    assert list(camera.gaps) == [answers.Gap(119.5, 130.0, "no frames")]


class Exhausted(MemoryWriter):
    """A keeper whose device is out of memory for a while."""

    is_exhausted = False

    def prefill(
        self, memories: Sequence[Memory], embedded: Tensor, times_s: Tensor, passed: Tensor | None = None
    ) -> None:
        if self.is_exhausted:
            raise torch.OutOfMemoryError("out of memory")
        super().prefill(memories, embedded, times_s, passed)


def test_what_the_device_could_not_read_is_not_taken_for_read(model: LlavaOnevision) -> None:
    """Somebody comes while the device is out of memory, and stays: they are read as soon as it goes on."""
    camera = new_camera(model, kind=Exhausted)
    reader = camera._writer
    assert isinstance(reader, Exhausted)
    show(camera, still(8), first_s=0.0)
    before = camera.tokens_read
    reader.is_exhausted = True
    with pytest.raises(torch.OutOfMemoryError):
        show(camera, still(4, seed=3), first_s=4.0)
    reader.is_exhausted = False

    show(camera, still(4, seed=3), first_s=6.0)

    assert camera.tokens_read == before + TOKENS_PER_FRAME
    assert camera.frames_seen == 12


@pytest.mark.parametrize("is_gated", [True, False])
def test_a_checkpoint_of_a_moving_picture_leaves_the_recent_window_to_the_stream(
    model: LlavaOnevision, is_gated: bool
) -> None:
    camera = new_camera(model, is_gated=is_gated)
    show(camera, random_frames(40), first_s=100.0)

    saved = camera.snapshot(0, 121.0)

    assert max(int(layer.token_ids.max()) for layer in saved.layers) < 36 * TOKENS_PER_FRAME
    assert saved.facts.newest_s == 117.5


def test_a_checkpoint_of_a_still_picture_has_everything_and_is_as_of_its_last_frame(
    model: LlavaOnevision,
) -> None:
    """The stream would not bring back what it showed minutes ago."""
    camera = new_camera(model)
    show(camera, random_frames(20), first_s=100.0)
    show(camera, still(20, seed=7), first_s=110.0)

    saved = camera.snapshot(0, 121.0)

    for index, layer in enumerate(saved.layers):
        assert torch.equal(layer.token_ids, camera.memory.after_prefix(index).token_ids)
    assert saved.facts.newest_s == 117.5


def test_a_camera_that_comes_back_goes_on_gating(model: LlavaOnevision) -> None:
    """What happened while it was away is in the first frame, which is read whole."""
    camera = new_camera(model)
    show(camera, random_frames(20), first_s=100.0)
    show(camera, still(20, seed=7), first_s=110.0)
    taken = camera.snapshot(0, 121.0)
    saved = checkpoint_codec.decode([b"".join(checkpoint_codec.encode(taken))], taken.facts, taken.thumbnails)

    other = new_camera(model)
    other.restore(saved)
    show(other, still(40, seed=7), first_s=130.0)

    assert other.gaps[-1] == answers.Gap(117.5, 130.0, "restored from a checkpoint")
    assert other.frames_seen == saved.facts.frames_seen + 40
    assert other.tokens_read == 4 * TOKENS_PER_FRAME
    assert other.memory.next_frame == saved.facts.next_frame + 4


def test_two_snapshots_of_equal_content_hold_the_same_tokens_and_other_tokens_are_other_content(
    model: LlavaOnevision,
) -> None:
    camera = new_camera(model)
    pictures = torch.cat((random_frames(24), still(48, seed=9), random_frames(8, seed=3), still(40, seed=4)))
    taken = []
    for at in range(0, len(pictures), 4):
        show(camera, pictures[at : at + 4], first_s=at / 2)
        taken += [camera.snapshot(0, 0.0), camera.snapshot(0, 0.0, is_whole=True)]

    for one in taken:
        for other in taken:
            is_same = all(
                torch.equal(mine.token_ids, its.token_ids)
                and torch.equal(mine.positions, its.positions)
                and torch.equal(mine.keys, its.keys)
                and torch.equal(mine.values, its.values)
                for mine, its in zip(one.layers, other.layers, strict=True)
            )
            assert is_same or one.content != other.content
    assert len({one.content for one in taken}) < len(taken)
    assert taken[-2].content == taken[-1].content


def test_a_snapshot_holds_what_is_older_than_the_frames_left_out_and_is_no_view(
    model: LlavaOnevision,
) -> None:
    camera = new_camera(model)
    show(camera, random_frames(32), first_s=0.0)
    taken = camera.snapshot(0, 0.0)
    for index, layer in enumerate(taken.layers):
        tokens = camera.memory.after_prefix(index)
        is_older = tokens.token_ids < camera.memory.next_frame * TOKENS_PER_FRAME - 4 * TOKENS_PER_FRAME
        assert torch.equal(layer.token_ids, tokens.token_ids[is_older])
        assert torch.equal(layer.keys, tokens.keys[:, is_older])
        before = layer.keys.clone()
        tokens.keys.zero_()
        assert torch.equal(layer.keys, before)
