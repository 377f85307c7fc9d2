"""The Python client of a running system. Needs the wire contract alone, neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from console.client import channel
from console.client.channel import TlsFiles
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
_CALL_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 120.0
_MISTAKES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


@dataclass(eq=False)
class ClientError(Exception):
    """A call that the server refused or that did not reach it. `reason` is for programs, e.g. UNKNOWN_CAMERA."""

    message: str
    reason: str
    code: grpc.StatusCode
    metadata: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def is_mistake(self) -> bool:
        """Whether the caller must change the call before it can succeed."""
        return self.code in _MISTAKES


class HermesClient:
    """One connection, for any thread. Every method blocks and raises ClientError. Close it, or use it in `with`.

    tls: how to connect; without it clear text on this machine, and beyond it TLS with the public authorities. Raises
    InvalidCredentials if one of its files cannot be read.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, token: str | None = None, tls: TlsFiles | None = None
    ) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        tls = tls or TlsFiles()
        self._uses_tls = channel.uses_tls(address, tls)
        self._channel = channel.open_channel(address, tls)
        self._queries = pb_grpc.QueryServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._cameras = pb_grpc.CameraServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._fleet = pb_grpc.FleetServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def ask(self, camera: str, question: str, *, max_answer_tokens: int = 0) -> Iterator[pb.AskResponse]:
        """The events of one answer as they arrive; closing the iterator cancels it. Raises ClientError without Done."""
        request = pb.AskRequest(camera=camera, question=question, max_answer_tokens=max_answer_tokens)
        with self._translated():
            call = self._queries.Ask(request, timeout=_ANSWER_TIMEOUT_S, metadata=self._metadata)
            try:
                yield from call
            finally:
                call.cancel()

    def add_camera(
        self,
        name: str,
        url: str,
        pace: pb.Pace = pb.PACE_LIVE,
        *,
        masks: Sequence[Sequence[tuple[float, float]]] = (),
        gate: bool | None = None,
    ) -> pb.Camera:
        """Adds a camera; returns when its first frame has arrived.

        masks: polygons to black out, corners (x, y) in 0..1 of the image; gate: whether unchanged patches are skipped,
        None for the server's default.
        """
        polygons = [pb.Mask(corners=[pb.Point(x=x, y=y) for x, y in mask]) for mask in masks]
        request = pb.AddCameraRequest(name=name, url=url, pace=pace, masks=polygons, gate=gate)
        camera: pb.Camera = self._call(self._cameras.AddCamera, request).camera
        return camera

    def get_camera(self, name: str) -> pb.Camera:
        """The state of one camera and its memory."""
        camera: pb.Camera = self._call(self._cameras.GetCamera, pb.GetCameraRequest(name=name)).camera
        return camera

    def list_cameras(self) -> list[pb.Camera]:
        """The state of all cameras, in order of their names."""
        return list(self._call(self._cameras.ListCameras, pb.ListCamerasRequest()).cameras)

    def test_camera(self, url: str) -> pb.TestCameraResponse:
        """Opens a URL without adding it: its video, or the reason why there is none."""
        response: pb.TestCameraResponse = self._call(self._cameras.TestCamera, pb.TestCameraRequest(url=url))
        return response

    def remove_camera(self, name: str) -> None:
        """Stops a camera and deletes its memory and checkpoints."""
        self._call(self._cameras.RemoveCamera, pb.RemoveCameraRequest(name=name))

    def migrate_camera(self, name: str, to_shard: int | None = None) -> pb.Camera:
        """Moves a camera and its whole memory to another shard, by default to the other one with the fewest cameras."""
        request = pb.MigrateCameraRequest(name=name, to_shard=to_shard)
        camera: pb.Camera = self._call(self._fleet.MigrateCamera, request).camera
        return camera

    def list_shards(self) -> pb.ListShardsResponse:
        """The state of all shards, and how many cameras would still fit if the fullest shard were lost."""
        response: pb.ListShardsResponse = self._call(self._fleet.ListShards, pb.ListShardsRequest())
        return response

    def drain_shard(self, index: int) -> pb.Shard:
        """Moves every camera of a shard away. The shard gets no new ones until its process restarts."""
        shard: pb.Shard = self._call(self._fleet.DrainShard, pb.DrainShardRequest(shard=index)).shard
        return shard

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> HermesClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        with self._translated():
            return method(request, timeout=_CALL_TIMEOUT_S, metadata=self._metadata)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._error_of(error) from None

    def _error_of(self, call: Any) -> ClientError:
        """The server's own error, or one that says that no server answered."""
        status = rpc_status.from_call(call)
        for detail in status.details if status is not None else ():
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return ClientError(call.details(), info.reason, call.code(), dict(info.metadata))
        if call.code() is grpc.StatusCode.UNAVAILABLE:
            return ClientError(self._unreachable(call.details()), "UNREACHABLE", call.code())
        if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ClientError(f"hermes at {self._address}: no answer in time", "NO_ANSWER_IN_TIME", call.code())
        return ClientError(f"hermes at {self._address}: {call.details()}", call.code().name, call.code())

    def _unreachable(self, details: str) -> str:
        if self._uses_tls:
            return (
                f"no hermes answers at {self._address} over TLS: {details}; for a server with an authority of its own "
                "give its certificate (--ca), for one that wants a client's certificate --cert and --key, for one "
                "without TLS --insecure"
            )
        return (
            f"no hermes answers at {self._address}; start one with: hermes demo, or hermes serve --config FILE; to one "
            "with TLS give its authority (--ca)"
        )
