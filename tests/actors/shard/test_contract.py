"""Messages between routers and shards: whole on the way, and readable by the version before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ShardsConfig
from actors.errors import ServiceError, ShardNotStarted
from actors.shard import contract
from actors.shard.interface import OPERATIONS, Assignment, ShardStatus
from cache_store.errors import OwnedByAnother, StoreError
from cache_store.gap import Gap
from cache_store.leases import LeaseExpiry
from pipeline.answers import (
    AnswerEvent,
    AnswerWarning,
    Caller,
    Done,
    Evidence,
    QuestionError,
    Started,
    Token,
    WarningCode,
)
from pipeline.cameras import (
    CameraError,
    CameraSpec,
    CameraState,
    CameraStatus,
    InvalidCamera,
    PlaybackSpeed,
    SourceReason,
    SourceUnreachable,
)
from pipeline.memory_status import MemoryStatus
from pipeline.picture_note import PictureNote
from pipeline.sources.probe import ProbeResult, VideoInfo
from tests.actors.scripted import ANSWER

SPEC = CameraSpec(
    name="gate",
    url="rtsp://user:pass@camera/live",
    pace=PlaybackSpeed.FAST,
    masks=(((0.0, 0.0), (1.0, 0.0), (0.5, 0.25)),),
    gate=False,
    frames_per_second=0.5,
    labels={"floor": "2"},
)
ASSIGNMENT = Assignment(
    id="1", spec=SPEC, started_s=1.5, revision=3, min_epoch=7, expiry=LeaseExpiry("old", 12), is_standby=True
)
STATUS = ShardStatus(
    pid=4,
    incarnation="shard",
    cameras=(
        CameraStatus(
            name="gate",
            url="rtsp://camera/live",
            state=CameraState.FAILED,
            memory=MemoryStatus(frames_seen=9, gaps=(Gap(1.0, 2.5, "source"),)),
            reason=SourceReason.TLS,
            note=PictureNote.SCENE_CHANGED,
            masks=SPEC.masks,
            state_since_s=1.25,
        ),
    ),
    standby={"2": None, "3": 4.5},
    busy_share=0.5,
    fingerprints=("abc", "before"),
)
RESULTS = [
    ("status", STATUS),
    ("drain", None),
    ("test_camera", ProbeResult(url="sim:yard", video=VideoInfo(codec="h264", width=640, height=360))),
]


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("ask", {"camera_id": "1", "question": 'what \U0001f697 is "that"?', "max_answer_tokens": 3}),
        ("ask", {"camera_id": "1", "question": "what", "caller": Caller("10.0.0.7", 2.5)}),
        ("add_camera", {"assignment": ASSIGNMENT}),
        ("release_camera", {"camera_id": "1", "successor": "other"}),
        ("status", {}),
    ],
)
def test_a_call_arrives_as_it_was_sent(operation: str, arguments: dict[str, object]) -> None:
    assert contract.decode_call(operation, contract.encode_call(operation, **arguments)) == arguments


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_has_messages(operation: str) -> None:
    with pytest.raises(ValueError, match="arguments"):
        contract.decode_call(operation, '{"contract": 1}')


@pytest.mark.parametrize(("operation", "value"), RESULTS)
def test_a_result_arrives_as_it_was_sent(operation: str, value: object) -> None:
    assert contract.decode_result(operation, contract.encode_result(operation, value)) == value


@pytest.mark.parametrize(
    "event",
    [
        *ANSWER,
        Started("1", "gate", 2.0, gaps=(Gap(1.0, 2.5, "source"),), camera_state=CameraState.LIVE),
        Done(
            ANSWER[-1].finish_reason,  # type: ignore[union-attr]
            "none",
            1,
            2,
            3.5,
            warnings=(AnswerWarning(WarningCode.UNKNOWN_WORDS, "no such word", ("zebra",)),),
        ),
    ],
)
def test_an_event_arrives_as_it_was_sent(event: AnswerEvent) -> None:
    assert contract.decode_event(contract.encode_event(event)) == event


@given(st.binary(max_size=200), st.floats(allow_nan=False), st.text())
def test_bytes_and_numbers_and_texts_of_every_kind_arrive(jpeg: bytes, number: float, text: str) -> None:
    for event in (Evidence(number, 0.5, jpeg), Token(text, 1)):
        assert contract.decode_event(contract.encode_event(event)) == event


def errors() -> Iterator[type[Exception]]:
    pending: list[type[Exception]] = [ServiceError, StoreError, CameraError, QuestionError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        yield kind


@pytest.mark.parametrize("kind", [*errors()])
def test_every_error_arrives_as_one_of_its_class(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^why$") as raised:
        contract.decode_result("drain", contract.encode_error(kind("why")))

    assert raised.type is kind


def test_an_error_keeps_what_it_has_beside_its_message() -> None:
    with pytest.raises(SourceUnreachable) as source:
        contract.decode_result("status", contract.encode_error(SourceUnreachable("why", SourceReason.TLS)))
    with pytest.raises(OwnedByAnother) as owned:
        contract.decode_event(contract.encode_error(OwnedByAnother("why", "other")))

    assert source.value.reason is SourceReason.TLS
    assert owned.value.incarnation == "other"


def test_an_error_that_nobody_foresaw_is_no_error_of_a_camera() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by zero"):
        contract.decode_result("status", contract.encode_error(ZeroDivisionError("by zero")))


def test_settings_arrive_as_they_were_sent() -> None:
    shards = ShardsConfig(lease=LeaseConfig(length_s=9.0), checkpoint_max_mb_per_s=2.5)
    settings = HermesConfig(model="tiny", shards=shards, cameras=(CameraSpec(name="a", url="/a.mp4"),)).for_shards()

    assert contract.decode_settings(contract.encode_settings(settings)) == settings


def test_fields_of_a_later_version_are_passed_over() -> None:
    status = json.loads(contract.encode_result("status", STATUS))
    status["value"]["temperature"] = 40
    status["value"]["cameras"][0]["memory"]["pages"] = 2
    call = json.loads(contract.encode_call("release_camera", "1"))
    call["arguments"]["urgent"] = True

    assert contract.decode_result("status", json.dumps(status)) == STATUS
    assert contract.decode_call("release_camera", json.dumps(call)) == {"camera_id": "1"}
    assert contract.decode_event('{"thought": {"text": "a car"}}') is None


def test_what_the_version_before_did_not_write_has_its_default() -> None:
    status = json.loads(contract.encode_result("status", STATUS))
    del status["value"]["busy_share"]

    assert contract.decode_result("status", json.dumps(status)).busy_share == 0.0


def test_a_camera_that_uses_nothing_new_can_be_read_by_the_version_before() -> None:
    message = contract.encode_call("add_camera", Assignment(id="1", spec=CameraSpec(name="a", url="b"), started_s=1.0))

    assert json.loads(message)["arguments"] == {
        "assignment": {"id": "1", "spec": {"name": "a", "url": "b"}, "started_s": 1.0}
    }


def test_a_camera_that_uses_something_new_is_refused_by_the_version_before() -> None:
    call = json.loads(contract.encode_call("add_camera", ASSIGNMENT))
    call["arguments"]["assignment"]["spec"]["night_mode"] = True

    with pytest.raises(ValueError, match="night_mode"):
        contract.decode_call("add_camera", json.dumps(call))


def test_a_camera_that_is_invalid_is_refused_as_such() -> None:
    call = json.loads(contract.encode_call("add_camera", ASSIGNMENT))
    call["arguments"]["assignment"]["spec"]["name"] = "a b"

    with pytest.raises(InvalidCamera, match="'a b'"):
        contract.decode_call("add_camera", json.dumps(call))


def test_another_contract_is_refused_with_both_numbers() -> None:
    call = json.loads(contract.encode_call("status")) | {"contract": 9}

    with pytest.raises(ValueError, match=r"contract 9 .*speaks 1"):
        contract.decode_call("status", json.dumps(call))


def test_an_error_of_a_later_version_is_one_of_the_nearest_class_known_here() -> None:
    later = json.dumps(
        {
            "error": {
                "types": ["ModelStillLoading", "ShardNotStarted", "ServiceError"],
                "message": "why",
                "details": {"step": "2"},
            }
        }
    )

    with pytest.raises(ShardNotStarted, match=r"^why$"):
        contract.decode_result("status", later)


def test_a_reason_of_a_later_version_is_an_unknown_one() -> None:
    message = json.loads(contract.encode_error(SourceUnreachable("why", SourceReason.TLS)))
    message["error"]["details"]["reason"] = "solar_storm"

    with pytest.raises(SourceUnreachable) as source:
        contract.decode_result("status", json.dumps(message))
    assert source.value.reason is SourceReason.UNKNOWN
