"""Values become messages of hermes.v1 with every field."""

from __future__ import annotations

import dataclasses

import pytest

from actors.fleet.records import CameraView
from actors.server import conversions
from cache_store.gap import Gap
from pipeline.answers import AnswerWarning, PictureWarning, Started, WarningCode
from pipeline.cameras import CameraSpec, CameraState, CameraStatus, SourceReason
from pipeline.memory_status import MemoryStatus
from pipeline.picture_note import PictureNote
from protos import hermes_v1_pb2 as pb
from tests.actors.scripted import DONE, STARTED

MEMORY = MemoryStatus(
    frames_seen=1,
    frames_dropped=2,
    compactions=3,
    prefix_tokens=4,
    summary_tier_tokens=5,
    recent_window_tokens=6,
    nbytes=7,
    thumbnails=8,
    thumbnail_nbytes=9,
    next_position=10,
    oldest_s=11.0,
    newest_s=12.0,
    checkpointed_s=13.0,
    gaps=(Gap(1.0, 2.5, "restored from a checkpoint"),),
)
SPEC = CameraSpec(name="gate", url="sim:gate")
# Names of the contract that differ from those of MemoryStatus.
RENAMED = {
    "compactions": "compressions",
    "nbytes": "bytes",
    "thumbnail_nbytes": "thumbnail_bytes",
    "oldest_s": "oldest",
    "newest_s": "newest",
    "checkpointed_s": "checkpointed",
}
# What the contract does not have.
INTERNAL = {"tokens_read", "tokens_skipped", "ingest_s", "upkeep_s"}


def test_every_field_of_a_memory_is_in_its_message() -> None:
    status = CameraStatus(name="gate", url="sim:gate", state=CameraState.LIVE, memory=MEMORY)
    message = conversions.camera_message(CameraView(SPEC, status, 0)).memory

    fields = {field.name: getattr(MEMORY, field.name) for field in dataclasses.fields(MEMORY)}
    for name, value in fields.items():
        if name in INTERNAL:
            continue
        found = getattr(message, RENAMED.get(name, name))
        match name:
            case "gaps":
                assert [(gap.start.ToNanoseconds(), gap.end.ToNanoseconds(), gap.reason) for gap in found] == [
                    (1_000_000_000, 2_500_000_000, "restored from a checkpoint")
                ]
            case "oldest_s" | "newest_s" | "checkpointed_s":
                assert found.ToNanoseconds() == value * 1e9, name
            case _:
                assert found == value, name


def test_a_camera_has_its_shard_epoch_reason_and_masks() -> None:
    masks = (((0.0, 0.0), (0.5, 0.0), (0.5, 0.25)),)
    status = CameraStatus(
        name="gate",
        url="rtsp://host/1",
        state=CameraState.BACKING_OFF,
        detail="refused",
        epoch=9,
        reason=SourceReason.TLS,
        masks=masks,
        id="c0ffee",
        state_since_s=2.5,
        lowered_fps=0.5,
    )
    message = conversions.camera_message(CameraView(SPEC, status, 3))

    assert (message.name, message.url, message.detail) == ("gate", "rtsp://host/1", "refused")
    assert (message.shard, message.epoch, message.id) == (3, 9, "c0ffee")
    assert message.state_since.ToNanoseconds() == 2_500_000_000
    assert message.lowered_frames_per_second == 0.5
    assert (message.state, message.reason) == (pb.CAMERA_STATE_BACKING_OFF, pb.SOURCE_REASON_TLS)
    assert [[(point.x, point.y) for point in mask.corners] for mask in message.masks] == [list(masks[0])]


@pytest.mark.parametrize("note", PictureNote)
def test_a_live_camera_has_the_note_on_its_picture(note: PictureNote) -> None:
    status = CameraStatus(name="gate", url="sim:gate", state=CameraState.LIVE, note=note)
    noted = conversions.camera_message(CameraView(SPEC, status, 0))
    well = conversions.camera_message(CameraView(SPEC, dataclasses.replace(status, note=None), 0))

    assert pb.PictureNote.Name(noted.picture_note) == f"PICTURE_NOTE_{note.upper()}"
    assert well.picture_note == pb.PICTURE_NOTE_UNSPECIFIED


def test_an_answer_starts_with_its_epoch() -> None:
    event = conversions.event_message(Started(answer_id="a", camera="gate", memory_as_of_s=2.5, epoch=7))

    assert (event.started.answer_id, event.started.camera, event.started.epoch) == ("a", "gate", 7)
    assert event.started.memory_as_of.ToNanoseconds() == 2_500_000_000
    assert event.started.camera_state == pb.CAMERA_STATE_UNSPECIFIED
    assert not event.started.HasField("camera_state_since")


def test_an_answer_begins_and_ends_with_the_state_of_its_camera() -> None:
    now = {"camera_id": "c0ffee", "camera_state": CameraState.STALLED, "state_since_s": 1.5}
    started = conversions.event_message(Started(answer_id="a", camera="gate", memory_as_of_s=2.5, **now)).started
    warning = AnswerWarning(WarningCode.NOT_LIVE, "camera 'gate' is stalled")
    done = conversions.event_message(dataclasses.replace(DONE, warnings=(warning,), **now)).done

    for event in (started, done):
        assert (event.camera_id, event.camera_state) == ("c0ffee", pb.CAMERA_STATE_STALLED)
        assert event.camera_state_since.ToNanoseconds() == 1_500_000_000
    assert [(one.code, one.message) for one in done.warnings] == [
        (pb.WARNING_CODE_NOT_LIVE, "camera 'gate' is stalled")
    ]


@pytest.mark.parametrize("note", PictureNote)
def test_what_is_wrong_with_a_picture_is_a_warning_with_a_code_of_its_own(note: PictureNote) -> None:
    picture = PictureWarning(note, "camera 'gate': it cannot be seen")
    for event in (dataclasses.replace(STARTED, picture=picture), dataclasses.replace(DONE, picture=picture)):
        message = conversions.event_message(event)
        (warning,) = message.started.warnings or message.done.warnings
        assert pb.WarningCode.Name(warning.code) == f"WARNING_CODE_{note.name}"
        assert warning.message == picture.message


def test_what_a_camera_said_is_cut() -> None:
    status = CameraStatus(name="gate", url="sim:gate", state=CameraState.FAILED, detail="x" * 100_000)

    assert len(conversions.camera_message(CameraView(SPEC, status, 0)).detail) < 1_100
