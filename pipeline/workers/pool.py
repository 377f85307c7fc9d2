"""The ingest workers of one shard, and the thread that serves them."""

from __future__ import annotations

import itertools
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed_output import OnState
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers import confinement
from pipeline.workers.segment_decoding import CameraDecoder, SegmentDecoding
from pipeline.workers.segment_messages import SegmentDecoded
from pipeline.workers.supervisor import Supervisor
from pipeline.workers.watched_camera import WatchedCamera
from pipeline.workers.worker_cameras import WorkerLimits
from pipeline.workers.worker_feed import WorkerFeed
from pipeline.workers.worker_link import WorkerLink
from pipeline.workers.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

_TICK_S = 0.25
_SPACE_TICK_S = 0.02  # while a recording waits for the device: the queue tells nobody that it has space
_CLOSE_S = 10.0


class _OwnerInPoolThread:
    """A FeedOwner for any thread: the pool's thread calls the supervisor."""

    def __init__(self, supervisor: Supervisor, call: Callable[[Callable[[], None]], None]) -> None:
        self._supervisor, self._call = supervisor, call

    def open(self, feed: WorkerFeed) -> None:
        self._call(partial(self._supervisor.open, feed))

    def limit_rate(self, feed: WorkerFeed) -> None:
        self._call(partial(self._supervisor.limit_rate, feed))

    def close(self, feed: WorkerFeed) -> None:
        self._call(partial(self._supervisor.close, feed))

    def send_decoded(self, link: WorkerLink, decoded: SegmentDecoded, body: list[memoryview]) -> None:
        self._call(partial(self._supervisor.send_decoded, link, decoded, body))


class WorkerPool:
    """Makes feeds whose sources run in workers. Starts its thread with the first one; `close` ends all of it."""

    def __init__(
        self,
        fit: FrameFit,
        num_workers: int,
        folders: tuple[Path, ...],
        limits: WorkerLimits | None = None,
        *,
        decoding: SegmentDecoding | None = None,
    ) -> None:
        """folders: those, and files, that cameras and their TLS may read.

        decoding: decodes here what a GPU can; without it workers decode all. Closed with the pool.
        """
        self._fit, self._decoding = fit, decoding
        limits = limits or WorkerLimits()
        start = partial(WorkerProcess, folders, limits.memory_nbytes)
        readable = partial(confinement.identities, folders)
        self._supervisor = Supervisor(start, num_workers, time.monotonic, limits, readable)
        self._handles = itertools.count()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def open(
        self,
        spec: CameraSpec,
        config: IngestConfig,
        *,
        clips: ClipQueue,
        on_state: OnState,
        camera_id: str,
        resume_from_s: float | None,
        started_s: float,
    ) -> WorkerFeed:
        """A FeedFactory. Raises InvalidCamera."""
        camera = WatchedCamera(
            spec=spec,
            config=config,
            fit=self._fit,
            camera_id=camera_id,
            resume_from_s=resume_from_s,
            started_s=started_s,
        )
        handle = next(self._handles)
        decoder = CameraDecoder(handle, camera, self._decoding) if self._decoding else None
        owner = _OwnerInPoolThread(self._supervisor, self._call)
        return WorkerFeed(handle, camera, clips, on_state, owner, decoder)

    def close(self) -> None:
        """Ends every worker; blocks until they have ended, for 10 s at most. Open feeds give nothing any more."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            thread = self._thread
            os.eventfd_write(self._wake, 1)
        if thread is None:
            os.close(self._wake)
        else:
            thread.join(_CLOSE_S)
            if thread.is_alive():
                log.error("ingest_workers_not_ended", waited_s=_CLOSE_S)
        if self._decoding is not None:
            self._decoding.close()

    def pids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [worker.link.pid for worker in self._supervisor.workers]

    def _call(self, call: Callable[[], None]) -> None:
        """Has the thread call this."""
        with self._lock:
            if self._is_closed:
                return
            self._calls.put(call)
            os.eventfd_write(self._wake, 1)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ingest-workers", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._serve_once()
            except Exception as error:  # noqa: BLE001 - the cameras of other workers go on
                log.error("ingest_workers_failed", error=type(error).__name__)
                time.sleep(_TICK_S)
        try:
            self._supervisor.end()
        finally:
            with self._lock:  # `close` may be about to write to it
                os.close(self._wake)

    def _serve_once(self) -> None:
        supervisor = self._supervisor
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        by_fd = {worker.link.fileno(): worker for worker in supervisor.workers}
        for descriptor, worker in by_fd.items():
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if worker.link.has_unsent else 0))
        tick_s = _SPACE_TICK_S if supervisor.has_waiting_clips else _TICK_S
        ready = poll.poll(1000 * tick_s)
        for descriptor, _ in ready:
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            else:
                supervisor.read(by_fd[descriptor])
        while not self._calls.empty():
            self._calls.get()()
        supervisor.tick()
