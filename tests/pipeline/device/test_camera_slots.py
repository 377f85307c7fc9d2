"""The slots of a device: a camera's gate can be changed, its memory erased, and its slot given to the next camera."""

from __future__ import annotations

import pytest
import torch

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap, GapReason
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraExists, TooManyCameras
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.camera_slots import CameraSlots
from pipeline.device.device_config import DeviceConfig
from tests.conftest import TOKENS_PER_FRAME, assert_same, contents
from tests.pipeline.device.engine_driver import MEMORY
from tests.pipeline.device.test_camera_memory import append, still

ERASED = Gap(1_000.0, 1_010.0, GapReason.ERASED)


@pytest.fixture
def slots(model: LlavaOnevision) -> CameraSlots:
    """Two slots; 7 sampled frames of every camera are lost."""
    writer = MemoryWriter(model, MEMORY, max_frames=8, reserve=128)
    return CameraSlots(writer, DeviceConfig(max_cameras=2), lambda name: 7)


def add(slots: CameraSlots, name: str, *, is_gated: bool) -> None:
    slots.add(name, None, started_s=900.0, gap=None, is_gated=is_gated)


def tokens_read(slots: CameraSlots, name: str, first_s: float) -> int:
    """Tokens that eight frames of a still picture add."""
    before = slots.get(name).tokens_read
    append(slots.get(name), still(8), first_s=first_s)
    return slots.get(name).tokens_read - before


def test_of_a_still_picture_a_gated_camera_reads_the_beginning_and_an_open_one_all(slots: CameraSlots) -> None:
    add(slots, "gated", is_gated=True)
    add(slots, "open", is_gated=False)
    assert 0 < tokens_read(slots, "gated", 1_000.0) < 8 * TOKENS_PER_FRAME
    assert tokens_read(slots, "gated", 1_004.0) == 0
    assert tokens_read(slots, "open", 1_000.0) == 8 * TOKENS_PER_FRAME
    assert tokens_read(slots, "open", 1_004.0) == 8 * TOKENS_PER_FRAME


def test_a_gate_can_be_opened_and_closed_again(slots: CameraSlots) -> None:
    add(slots, "lobby", is_gated=True)
    append(slots.get("lobby"), still(8), first_s=1_000.0)

    slots.set_gate("lobby", is_gated=False)
    assert tokens_read(slots, "lobby", 1_004.0) == 8 * TOKENS_PER_FRAME
    slots.set_gate("lobby", is_gated=True)
    assert 0 < tokens_read(slots, "lobby", 1_008.0) < 8 * TOKENS_PER_FRAME


def test_an_erased_camera_has_nothing_of_before_and_goes_on_in_its_slot_behind_its_gate(slots: CameraSlots) -> None:
    add(slots, "lobby", is_gated=True)
    camera = slots.get("lobby")
    fresh = contents(camera.memory)
    append(camera, still(8), first_s=1_000.0)
    slots.publish(camera)

    slots.erase("lobby", ERASED)
    erased = slots.get("lobby")
    slots.publish(erased)

    assert_same(contents(erased.memory), fresh)
    status = slots.status("lobby")
    assert (status.frames_seen, status.tokens_read, status.thumbnails, status.newest_s) == (0, 0, 0, None)
    assert status.frames_dropped == 7
    assert erased.started_s == 900.0
    assert status.gaps == (ERASED,)
    # The first frame after it is read whole, although it shows what was erased.
    assert tokens_read(slots, "lobby", 1_020.0) == TOKENS_PER_FRAME
    slots.publish(slots.get("lobby"))
    assert slots.status("lobby").gaps == (Gap(1_000.0, 1_020.0, GapReason.ERASED),)


def restored(slots: CameraSlots, saved: Checkpoint) -> CameraMemory:
    slots.add("again", saved, started_s=900.0, gap=None, is_gated=False)
    return slots.get("again")


@pytest.mark.parametrize("waiting_until_s", [None, 1_009.0])
def test_a_snapshot_without_frames_says_up_to_when_they_were_erased(
    slots: CameraSlots, waiting_until_s: float | None
) -> None:
    """Behind that the camera's source goes on, however often it is saved, restored and erased."""
    add(slots, "lobby", is_gated=False)
    assert slots.get("lobby").is_new
    append(slots.get("lobby"), still(8), first_s=1_000.0)
    slots.erase("lobby", ERASED, waiting_until_s)
    until_s = waiting_until_s or 1_003.5

    saved = slots.get("lobby").snapshot(0, 5_000.0)
    again = restored(slots, saved)

    assert saved.facts.newest_s == until_s
    assert not again.is_new
    assert (again.newest_s, again.status(0).newest_s, again.gaps) == (None, None, (ERASED,))
    slots.erase("again", ERASED)
    assert slots.get("again").snapshot(0, 5_000.0, is_whole=True).facts.newest_s == until_s


def test_a_snapshot_that_leaves_out_all_frames_since_they_were_erased_says_up_to_when(slots: CameraSlots) -> None:
    add(slots, "lobby", is_gated=False)
    append(slots.get("lobby"), still(8), first_s=1_000.0)
    slots.erase("lobby", ERASED)
    append(slots.get("lobby"), still(4), first_s=1_020.0)

    saved = slots.get("lobby").snapshot(0, 5_000.0)
    again = restored(slots, saved)
    append(again, still(4), first_s=1_020.0)

    assert saved.facts.newest_s == 1_003.5
    assert again.gaps == (Gap(1_000.0, 1_020.0, GapReason.ERASED),)


def test_of_a_camera_whose_times_are_to_begin_anew_a_snapshot_knows_none(slots: CameraSlots) -> None:
    """Its clock was set back: its source goes on now, not behind what was erased."""
    add(slots, "lobby", is_gated=False)
    append(slots.get("lobby"), still(8), first_s=1_000.0)
    slots.erase("lobby", ERASED, 1_009.0, keeps_place=False)

    assert slots.get("lobby").is_new
    assert slots.get("lobby").snapshot(0, 5_000.0).facts.newest_s == 0.0


def test_cameras_have_slots_of_their_own_and_a_freed_one_is_given_again(slots: CameraSlots) -> None:
    add(slots, "lobby", is_gated=False)
    add(slots, "gate", is_gated=False)
    append(slots.get("lobby"), still(8, seed=1), first_s=1_000.0)
    lobby = contents(slots.get("lobby").memory)
    append(slots.get("gate"), still(8, seed=2), first_s=1_000.0)
    assert_same(contents(slots.get("lobby").memory), lobby)
    with pytest.raises(TooManyCameras, match="camera 'yard': all 2 slots are taken"):
        add(slots, "yard", is_gated=False)
    with pytest.raises(CameraExists, match="camera 'gate'"):
        add(slots, "gate", is_gated=False)

    freed = slots.get("gate").memory.slot
    slots.remove("gate")
    add(slots, "yard", is_gated=False)

    assert slots.get("yard").memory.slot == freed
    assert slots.status("yard").tokens_read == 0
    assert torch.equal(slots.get("lobby").memory.layer(0).keys, lobby[0])


def test_what_is_not_there_is_unknown(slots: CameraSlots) -> None:
    for operation in (
        lambda: slots.get("lobby"),
        lambda: slots.status("lobby"),
        lambda: slots.remove("lobby"),
        lambda: slots.erase("lobby", ERASED),
        lambda: slots.set_gate("lobby", is_gated=True),
    ):
        with pytest.raises(UnknownCamera, match="camera 'lobby': not on this device"):
            operation()


def test_a_frame_is_timed_on_a_free_slot_that_is_as_new_for_the_next_camera(
    slots: CameraSlots, model: LlavaOnevision
) -> None:
    add(slots, "first", is_gated=False)
    assert slots.time_frame() > 0
    assert slots.time_frame() > 0
    add(slots, "second", is_gated=False)
    for name in ("first", "second"):
        append(slots.get(name), still(8), first_s=1_000.0)

    assert_same(contents(slots.get("first").memory), contents(slots.get("second").memory))


def test_a_device_without_a_free_slot_times_nothing(slots: CameraSlots) -> None:
    for name in ("first", "second"):
        add(slots, name, is_gated=False)

    with pytest.raises(TooManyCameras, match="all 2 slots"):
        slots.time_frame()
