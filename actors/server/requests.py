"""Converts requests of hermes.v1 to values of this system, and refuses those that are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from actors.errors import InvalidRequest
from actors.server import conversions
from pipeline.cameras import CameraSpec, CameraState, InvalidCamera, PlaybackSpeed, Polygon
from pipeline.network import urls
from pipeline.network.tls import TlsRules
from protos import hermes_v1_pb2 as pb

_PACES = {
    pb.PACE_UNSPECIFIED: PlaybackSpeed.LIVE,
    pb.PACE_LIVE: PlaybackSpeed.LIVE,
    pb.PACE_FAST: PlaybackSpeed.FAST,
}
_STATES: dict[int, CameraState] = {number: state for state, number in conversions.STATES.items()}
# What an update can change, by the names of UpdateCameraRequest and of CameraSpec, which are the same.
_TEXTS = ("url", "tls_certificate_sha256", "tls_ca", "tls_name")
UPDATABLE = (*_TEXTS, "masks", "gate", "frames_per_second", "labels")


def added_spec(request: pb.AddCameraRequest) -> CameraSpec:
    """The camera that a client wants to add. Raises InvalidCamera, InvalidMask."""
    if request.pace not in _PACES:
        raise InvalidCamera(f"camera {request.name[:80]!r}: pace {request.pace} is unknown (known: 1 live, 2 fast)")
    values = {field: _value(request, field) for field in UPDATABLE}
    return CameraSpec(name=request.name, pace=_PACES[request.pace], loop=request.loop, **values)


def updated_spec(spec: CameraSpec, request: pb.UpdateCameraRequest) -> CameraSpec:
    """The camera as a client wants to have it from now on. Raises InvalidRequest, InvalidCamera, InvalidMask."""
    fields = list(request.update_mask.paths)
    choices = ", ".join(UPDATABLE)
    if not fields:
        raise InvalidRequest(f"camera {spec.name!r}: update_mask is empty; it names what changes: {choices}")
    for field in fields:
        if field not in UPDATABLE:
            raise InvalidRequest(
                f"camera {spec.name!r}: update_mask: {field[:80]!r} cannot be changed (can: {choices})"
            )
    return replace(spec, **{field: _value(request, field) for field in fields})


def tested_tls(request: pb.TestCameraRequest) -> TlsRules:
    """What the certificate of a URL that is tested must be. Raises InvalidCamera."""
    values = {field: getattr(request, field) for field in _TEXTS}
    return urls.tls_rules(CameraSpec(name="test", **values))


def filtered_states(states: Iterable[int]) -> frozenset[CameraState]:
    """The states that a client filters by; every state if it names none. Raises InvalidRequest."""
    for state in states:
        if state not in _STATES:
            raise InvalidRequest(f"states: {state} is unknown (known: 1 to {max(_STATES)})")
    return frozenset(_STATES[state] for state in states) or frozenset(CameraState)


def _value(request: pb.AddCameraRequest | pb.UpdateCameraRequest, field: str) -> Any:
    """The value of a field, its default where it is not set."""
    match field:
        case "masks":
            return tuple(map(_polygon, request.masks))
        case "gate":
            return request.gate if request.HasField("gate") else True
        case "frames_per_second":
            return request.frames_per_second if request.HasField("frames_per_second") else None
        case "labels":
            return dict(request.labels)
    text: str = getattr(request, field)
    return text


def _polygon(mask: pb.Mask) -> Polygon:
    return tuple((corner.x, corner.y) for corner in mask.corners)
