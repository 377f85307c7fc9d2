"""The Python client of a running system. Needs the wire contract alone, neither torch nor Ray."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from console.client import channel, errors
from console.client.channel import TlsFiles
from console.client.errors import InvalidCredentials, InvalidNumber, InvalidText
from console.client.tracing import CallTracer, NoCallTracer
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
R = TypeVar("R", bound=Message)

_CALL_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 120.0


class HermesClient:
    """One connection, for any thread. Every method blocks and raises ClientError. Close it, or use it in `with`.

    tls: how to connect; without it clear text on this machine, and beyond it TLS with the public authorities. tracer:
    gets a span of each question. Raises InvalidCredentials if a file of `tls` cannot be read, or if the token is not
    one line of printable ASCII characters.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        tls: TlsFiles | None = None,
        tracer: CallTracer | None = None,
    ) -> None:
        if token is not None and not re.fullmatch(r"[ -~]+", token):
            raise InvalidCredentials("token: use one line of printable ASCII characters, at least one")
        self._address = address
        self._tracer = tracer or NoCallTracer()
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        tls = tls or TlsFiles()
        self._uses_tls = channel.uses_tls(address, tls)
        self._channel = channel.open_channel(address, tls)
        self._queries = pb_grpc.QueryServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._cameras = pb_grpc.CameraServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._fleet = pb_grpc.FleetServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def ask(self, camera: str, question: str, *, max_answer_tokens: int = 0) -> Iterator[pb.AskResponse]:
        """The events of one answer as they arrive; closing the iterator cancels it. Raises ClientError without Done."""
        request = _request(pb.AskRequest, camera=camera, question=question, max_answer_tokens=max_answer_tokens)
        with self._translated(), self._tracer.span("hermes.client") as span:
            context = (("traceparent", span.context),) if span.context else ()
            call = self._queries.Ask(request, timeout=_ANSWER_TIMEOUT_S, metadata=(*self._metadata, *context))
            try:
                yield from call
            finally:
                call.cancel()

    def add_camera(self, request: pb.AddCameraRequest) -> pb.Camera:
        """Adds a camera; returns when its first frame has arrived."""
        camera: pb.Camera = self._call(self._cameras.AddCamera, request).camera
        return camera

    def update_camera(self, request: pb.UpdateCameraRequest) -> pb.Camera:
        """Changes what the request's `update_mask` names and keeps the memory, or fails where that is impossible."""
        camera: pb.Camera = self._call(self._cameras.UpdateCamera, request).camera
        return camera

    def erase_memory(self, name: str) -> pb.Camera:
        """Empties a camera's memory and deletes its checkpoints; the camera goes on watching."""
        camera: pb.Camera = self._call(self._cameras.EraseMemory, _request(pb.EraseMemoryRequest, name=name)).camera
        return camera

    def get_camera(self, name: str) -> pb.Camera:
        """The state of one camera and its memory."""
        camera: pb.Camera = self._call(self._cameras.GetCamera, _request(pb.GetCameraRequest, name=name)).camera
        return camera

    def list_cameras(self, selection: pb.ListCamerasRequest | None = None) -> list[pb.Camera]:
        """The state of all cameras, or of those that pass the filters of `selection`, in order of their names.

        Reads page after page; the pages are of the server's size unless `selection` says another.
        """
        return [camera for page in self.list_pages(selection) for camera in page.cameras]

    def list_pages(self, selection: pb.ListCamerasRequest | None = None) -> Iterator[pb.ListCamerasResponse]:
        """The pages of `list_cameras`, one after the other; there is at least one."""
        request = pb.ListCamerasRequest()
        if selection is not None:
            request.CopyFrom(selection)
        while True:
            page = self.list_page(request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_page(self, request: pb.ListCamerasRequest) -> pb.ListCamerasResponse:
        """One page of cameras."""
        page: pb.ListCamerasResponse = self._call(self._cameras.ListCameras, request)
        return page

    def test_camera(self, url: str, **tls: str | None) -> pb.TestCameraResponse:
        """Opens a URL without adding it: its video, or the reason why there is none.

        tls: the fields of TestCameraRequest that say what its certificate must be.
        """
        request = _request(pb.TestCameraRequest, url=url, **tls)
        response: pb.TestCameraResponse = self._call(self._cameras.TestCamera, request)
        return response

    def remove_camera(self, name: str) -> None:
        """Stops a camera and deletes its memory and checkpoints."""
        self._call(self._cameras.RemoveCamera, _request(pb.RemoveCameraRequest, name=name))

    def migrate_camera(self, name: str, to_shard: int | None = None) -> pb.Camera:
        """Moves a camera and its whole memory to another shard, by default to the other one with the fewest cameras."""
        request = _request(pb.MigrateCameraRequest, name=name, to_shard=to_shard)
        camera: pb.Camera = self._call(self._fleet.MigrateCamera, request).camera
        return camera

    def list_shards(self) -> pb.ListShardsResponse:
        """The state of all shards, and how many cameras would still fit if the fullest shard were lost."""
        response: pb.ListShardsResponse = self._call(self._fleet.ListShards, pb.ListShardsRequest())
        return response

    def drain_shard(self, index: int, *, force: bool = False) -> pb.DrainShardResponse:
        """Moves every camera of a shard away, and says why the others stayed. The shard gets no new ones.

        force: although no other shard takes cameras. `list_shards` shows meanwhile how many cameras are left.
        """
        request = _request(pb.DrainShardRequest, shard=index, force=force)
        response: pb.DrainShardResponse = self._call(self._fleet.DrainShard, request)
        return response

    def undrain_shard(self, index: int) -> pb.Shard:
        """Lets a drained shard take cameras again."""
        request = _request(pb.UndrainShardRequest, shard=index)
        shard: pb.Shard = self._call(self._fleet.UndrainShard, request).shard
        return shard

    def scale_shards(self, fewest: int, most: int) -> pb.ShardNumbers:
        """Sets the fewest and the most shards, for every server over the same store."""
        request = _request(pb.ScaleShardsRequest, min=fewest, max=most)
        numbers: pb.ShardNumbers = self._call(self._fleet.ScaleShards, request).numbers
        return numbers

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
            raise errors.error_of(error, self._address, uses_tls=self._uses_tls) from None


def _request(kind: Callable[..., R], **fields: Any) -> R:
    """A request with these fields. Raises InvalidText, InvalidNumber."""
    try:
        return kind(**fields)
    except UnicodeEncodeError as error:
        raise InvalidText(error.object) from None
    except ValueError as error:
        numbers = ", ".join(f"{name} is {value}" for name, value in fields.items() if isinstance(value, int))
        raise InvalidNumber(f"{numbers}: {error}") from None
