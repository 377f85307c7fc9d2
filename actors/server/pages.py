"""Pages of cameras: those that pass the filters of a request, as many as one message holds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from actors.errors import InvalidRequest
from actors.fleet.views import CameraView
from actors.server import conversions, requests
from pipeline.cameras import CAMERA_NAME_PATTERN, label_problem
from protos import hermes_v1_pb2 as pb

MAX_PAGE_SIZE = 1_000
# gRPC clients refuse a message beyond 4 MiB. One camera takes at most some 50 KiB.
MAX_PAGE_NBYTES = 2 * 1024 * 1024


def page(request: pb.ListCamerasRequest, cameras: Iterable[CameraView]) -> pb.ListCamerasResponse:
    """The page that the request names, of cameras on the shard that it names, sorted by name. Raises InvalidRequest."""
    after = _name_of(request.page_token)
    _require_possible(request)
    states = requests.filtered_states(request.states)
    if request.view not in pb.CameraView.values():
        raise InvalidRequest(f"view: {request.view} is unknown (expected 1 basic or 2 full)")
    selected = [camera for camera in cameras if _is_selected(request, camera) and camera.status.state in states]
    rest = [camera for camera in selected if camera.spec.name > after]
    messages = _as_many_as_fit(rest[: min(request.page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE)], request.view)
    is_last = len(messages) == len(rest)
    token = "" if is_last else base64.urlsafe_b64encode(messages[-1].name.encode()).decode()
    return pb.ListCamerasResponse(cameras=messages, next_page_token=token, total_size=len(selected))


def _as_many_as_fit(cameras: Iterable[CameraView], view: pb.CameraView) -> list[pb.Camera]:
    """The first of the cameras, at least one, as messages that fit into one page together."""
    messages: list[pb.Camera] = []
    nbytes = 0
    for camera in cameras:
        message = conversions.camera_message(camera, is_basic=view == pb.CAMERA_VIEW_BASIC)
        nbytes += message.ByteSize()
        if messages and nbytes > MAX_PAGE_NBYTES:
            break
        messages.append(message)
    return messages


def _is_selected(request: pb.ListCamerasRequest, camera: CameraView) -> bool:
    """Whether a camera passes the filters by name and labels."""
    is_named = camera.spec.name.startswith(request.name_prefix)
    return is_named and request.labels.items() <= camera.spec.labels.items()


def _require_possible(request: pb.ListCamerasRequest) -> None:
    """Raises InvalidRequest for a filter that no camera can pass."""
    if request.name_prefix and not CAMERA_NAME_PATTERN.fullmatch(request.name_prefix):
        raise InvalidRequest(
            f"name_prefix {request.name_prefix[:80]!r}: no name of a camera begins so: it has 1 to 63 letters, digits, "
            "'.', '_' or '-', the first a letter or digit"
        )
    if problem := label_problem(request.labels):
        raise InvalidRequest(f"labels: {problem}")


def _name_of(token: str) -> str:
    """The name after which the page begins; empty for the first page. Raises InvalidRequest."""
    if not token:
        return ""
    try:
        name = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError):
        name = ""
    if not CAMERA_NAME_PATTERN.fullmatch(name):
        raise InvalidRequest(f"page_token {token[:80]!r}: no next_page_token of this server")
    return name
