"""How a copy of a memory gets from its device to the caller that waits for it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from torch import Tensor

from cache_store import checkpoint_codec
from cache_store.checkpoint import Checkpoint
from cache_store.slabs import KVShape
from ops.side_streams import SideStreams
from pipeline.cameras import CameraFailed
from pipeline.device.failure_report import FailureReport

_MAX_RUNNING = 1  # each copy takes as much of the device as the tokens of its memory do


class SnapshotTransfer(Protocol):
    """Where snapshots are delivered. Device thread only."""

    @property
    def has_room(self) -> bool:
        """Whether a snapshot that is taken now is delivered without holding up the device thread."""
        ...

    def deliver(self, what: str, future: Future[Checkpoint], snapshot: Checkpoint) -> None:
        """Completes a running future with the snapshot on the host, or fails it. what: names it in errors."""
        ...


class Streams(Protocol):
    """The streams of a SideTransfer: `SideStreams`, or a fake without a GPU."""

    def wait_for_current(self) -> None: ...

    def to_host(self, tensor: Tensor) -> Tensor: ...


class DirectTransfer:
    """Delivers on the device thread: where the device is a CPU, the snapshot is on the host already."""

    has_room = True

    def deliver(self, what: str, future: Future[Checkpoint], snapshot: Checkpoint) -> None:
        future.set_result(checkpoint_codec.on_host(snapshot))


class SideTransfer:
    """Copies a snapshot to the host on a stream and a thread of its own, so that the device thread goes on.

    One at a time, because a snapshot takes memory of the device. One that finds no room is copied by the device thread.
    on_room: called by any thread when there is room again.
    """

    def __init__(self, streams: Streams, on_room: Callable[[], None], *, report: FailureReport) -> None:
        self._streams = streams
        self._on_room = on_room
        self._report = report
        self._running: set[Future[Checkpoint]] = set()

    @property
    def has_room(self) -> bool:
        return len(self._running) < _MAX_RUNNING

    def deliver(self, what: str, future: Future[Checkpoint], snapshot: Checkpoint) -> None:
        if not self.has_room:
            future.set_result(checkpoint_codec.on_host(snapshot))
            return
        self._streams.wait_for_current()
        thread = threading.Thread(target=self._copy, args=(what, future, snapshot), name="snapshot", daemon=True)
        self._running.add(future)
        try:
            thread.start()
        except RuntimeError:
            self._running.discard(future)
            raise

    def _copy(self, what: str, future: Future[Checkpoint], snapshot: Checkpoint) -> None:
        outcome: Checkpoint | CameraFailed
        try:
            outcome = checkpoint_codec.on_host(snapshot, self._streams.to_host)
        except Exception as error:  # noqa: BLE001 - one snapshot; a lost GPU ends the device thread at its next call
            self._report("snapshot_failed", job=what, reason=repr(error), traceback=traceback.format_exc())
            outcome = CameraFailed(f"{what}: the device failed: {type(error).__name__}")
        self._running.discard(future)
        self._on_room()
        if isinstance(outcome, CameraFailed):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def transfer_for(shape: KVShape, on_room: Callable[[], None], *, report: FailureReport) -> SnapshotTransfer:
    """The transfer for memories of this shape."""
    devices = {shape.device, *shape.devices}
    if all(device.type == "cuda" for device in devices):
        return SideTransfer(SideStreams(devices), on_room, report=report)
    return DirectTransfer()
