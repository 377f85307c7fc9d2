"""Every error of this system has a gRPC status of its own."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from actors.errors import CameraRecovering
from actors.server import status_codes
from actors.server.status_codes import ROWS
from cache_store.errors import StoreError
from pipeline.answers import InvalidQuestion, QuestionError
from pipeline.cameras import CameraError


def kinds_under(root: type[Exception]) -> list[type[Exception]]:
    return [leaf for kind in root.__subclasses__() for leaf in (kinds_under(kind) or [kind])]


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_no_row_is_hidden_by_an_earlier_one(number: int) -> None:
    kind, code, reason = ROWS[number]

    status = status_codes.status_of(kind("why"))

    assert status.code == code.value[0]
    assert info_of(status).reason == reason


@pytest.mark.parametrize(
    "kind", [*kinds_under(QuestionError), *kinds_under(CameraError)], ids=lambda kind: kind.__name__
)
def test_every_error_of_a_camera_or_a_question_has_its_own_reason(kind: type[Exception]) -> None:
    assert kind in [row[0] for row in ROWS]


def test_reasons_are_distinct_and_fit_the_rules_of_error_info() -> None:
    reasons = [reason for _, _, reason in ROWS]

    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isupper() and len(reason) <= 63 for reason in reasons)


def test_a_status_names_the_reason_the_camera_and_whether_a_retry_helps() -> None:
    status = status_codes.status_of(CameraRecovering("camera 'gate': restarting"), camera="gate")
    info, retry = info_of(status), error_details_pb2.RetryInfo()

    assert status.message == "camera 'gate': restarting"
    assert (info.domain, dict(info.metadata)) == ("hermes", {"camera": "gate"})
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 1


def test_a_retry_is_not_advised_for_an_invalid_request() -> None:
    assert len(status_codes.status_of(InvalidQuestion("empty")).details) == 1


def test_an_error_class_without_a_row_has_the_status_of_its_base_class() -> None:
    class BrandNew(StoreError):
        pass

    assert status_codes.status_of(BrandNew("x")).code == grpc.StatusCode.INTERNAL.value[0]


def test_a_message_of_any_length_fits_into_trailers() -> None:
    status = status_codes.status_of(InvalidQuestion("\N{SNOWMAN}" * 100_000))

    assert len(status.message.encode()) <= 1_024 + 3
    assert status.message.endswith("\N{SNOWMAN}…")


def info_of(status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info
