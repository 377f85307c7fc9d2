"""Requests become cameras, and what is none is refused with the field, the value and what is allowed."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from actors.errors import InvalidRequest
from actors.server import requests
from pipeline.cameras import CameraSpec, InvalidCamera, InvalidMask, PlaybackSpeed
from protos import hermes_v1_pb2 as pb

TRIANGLE = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.25))
SPEC = CameraSpec(
    name="gate", url="rtsp://host/1", masks=(TRIANGLE,), gate=False, frames_per_second=2.0, labels={"site": "north"}
)


def test_a_request_becomes_a_camera_with_masks_and_pace() -> None:
    corners = [pb.Point(x=0, y=0), pb.Point(x=0.5, y=0), pb.Point(x=0.5, y=0.25)]
    request = pb.AddCameraRequest(
        name="film", url="/tmp/x", pace=pb.PACE_FAST, loop=True, masks=[pb.Mask(corners=corners)]
    )
    spec = requests.added_spec(request)

    assert (spec.name, spec.url, spec.pace, spec.loop) == ("film", "/tmp/x", PlaybackSpeed.FAST, True)
    assert spec.masks == (TRIANGLE,)
    assert (spec.gate, spec.frames_per_second, spec.labels) == (True, None, {})


def test_an_update_changes_what_its_mask_names_and_nothing_else() -> None:
    request = update("url", "labels", url="rtsp://u:p@host/1", labels={"floor": "2"}, gate=True, frames_per_second=9)

    assert requests.updated_spec(SPEC, request) == CameraSpec(
        name="gate",
        url="rtsp://u:p@host/1",
        masks=(TRIANGLE,),
        gate=False,
        frames_per_second=2.0,
        labels={"floor": "2"},
    )


def test_the_checks_of_a_certificate_are_part_of_a_request() -> None:
    added = requests.added_spec(pb.AddCameraRequest(name="gate", url="rtsps://host/1", tls_ca="PEM", tls_name="nvr"))
    changed = requests.updated_spec(added, update("tls_ca", "tls_name", "tls_certificate_sha256",
                                                  tls_certificate_sha256="0" * 64))  # fmt: skip

    assert added == CameraSpec(name="gate", url="rtsps://host/1", tls_ca="PEM", tls_name="nvr")
    assert changed == CameraSpec(name="gate", url="rtsps://host/1", tls_certificate_sha256="0" * 64)


def test_what_an_update_names_and_does_not_set_gets_its_default() -> None:
    request = update("masks", "gate", "frames_per_second", "labels")

    assert requests.updated_spec(SPEC, request) == CameraSpec(name="gate", url="rtsp://host/1")


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (pb.UpdateCameraRequest(name="gate"), InvalidRequest, "update_mask is empty"),
        (pb.UpdateCameraRequest(update_mask=FieldMask(paths=["name"])), InvalidRequest, "'name' cannot be changed"),
        (pb.UpdateCameraRequest(update_mask=FieldMask(paths=["url.x"])), InvalidRequest, "'url.x' cannot be changed"),
        (
            pb.UpdateCameraRequest(update_mask=FieldMask(paths=["masks"]), masks=[pb.Mask()]),
            InvalidMask,
            "0 corners",
        ),
        (
            pb.UpdateCameraRequest(update_mask=FieldMask(paths=["frames_per_second"]), frames_per_second=-1),
            InvalidCamera,
            "frames_per_second is -1",
        ),
    ],
)
def test_an_update_of_anything_else_or_to_an_invalid_value_is_refused(
    request_: pb.UpdateCameraRequest, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        requests.updated_spec(SPEC, request_)


def update(*fields: str, **values: object) -> pb.UpdateCameraRequest:
    return pb.UpdateCameraRequest(name="gate", update_mask=FieldMask(paths=fields), **values)
