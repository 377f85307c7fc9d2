"""Spreads cameras over workers, and starts those anew that end or hang. Belongs to one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from pipeline.cameras import CameraState, SourceReason
from pipeline.utc_text import utc_text
from pipeline.workers import backoff
from pipeline.workers.errors import WorkerError
from pipeline.workers.quarantine import Quarantine, Restart
from pipeline.workers.segment_messages import SegmentDecoded
from pipeline.workers.spare_worker import SpareWorker
from pipeline.workers.worker_cameras import Folders, WorkerCameras, WorkerLimits
from pipeline.workers.worker_feed import WorkerFeed
from pipeline.workers.worker_link import WorkerLink

_Result = TypeVar("_Result")
log = structlog.get_logger(__name__)

_MOST_TIMES = 2  # times as many while older ones lack a folder
_MAY_LACK_A_FILE = frozenset({SourceReason.NO_ADDRESS, SourceReason.TLS})  # that was replaced since its worker started
FIRST_START_RETRY_S, LAST_START_RETRY_S = 1.0, 60.0  # of workers that do not start


class Supervisor:
    """Has at most `num_workers` workers, and more while it searches for the camera that ends its workers.

    A camera goes to the worker with the fewest. A worker without cameras is ended. Files that were replaced are closed
    to workers that are older: cameras whose trouble may be that go to newer ones. Once all workers have started there
    is a spare one too.
    """

    def __init__(
        self,
        start: Callable[[], WorkerLink],
        num_workers: int,
        clock: Callable[[], float],
        limits: WorkerLimits,
        folders: Callable[[], Folders] = frozenset,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """start: starts a worker's process; may raise OSError. folders: those, and files, that it may read then.

        wall: Unix time, for messages.
        """
        self.workers: list[WorkerCameras] = []
        self._start, self._num_workers, self._clock = start, num_workers, clock
        self._limits, self._folders, self._wall = limits, folders, wall
        self._quarantine = Quarantine(limits.soon_s)
        self._unassigned: dict[int, WorkerFeed] = {}
        self._failed_starts = 0
        self._spare = SpareWorker(partial(self._started, is_alone=False), _end)

    def open(self, feed: WorkerFeed) -> None:
        """Gives a camera to a worker."""
        self._unassigned[feed.handle] = feed
        self._assign()

    def limit_rate(self, feed: WorkerFeed) -> None:
        """Has a camera sampled at the feed's share of its rate."""
        for worker in self.workers:
            if feed.handle in worker.feeds:
                self._guarded(worker, partial(worker.limit_rate, feed))
                return

    def close(self, feed: WorkerFeed) -> None:
        """Has a camera's connections closed."""
        self._quarantine.forget(feed.handle)
        if self._unassigned.pop(feed.handle, None) is not None:
            feed.ended()
        self._release(feed.handle)

    def send_decoded(self, link: WorkerLink, decoded: SegmentDecoded, body: list[memoryview]) -> None:
        """Sends a worker what was decoded of its segment, unless it has ended."""
        for worker in self.workers:
            if worker.link is link:
                self._guarded(worker, partial(worker.send_decoded, decoded, body))
                return

    def read(self, worker: WorkerCameras) -> None:
        """Takes what a worker has said."""
        was_starting = not worker.has_started
        closed = self._guarded(worker, partial(worker.read, self._clock())) or ()
        if was_starting and worker.has_started:
            self._failed_starts = 0
        for feed in closed:
            if feed.is_stopped:
                feed.ended()
            else:
                self._unassigned[feed.handle] = feed
        if worker in self.workers and not worker.feeds and not worker.closing:
            self.workers.remove(worker)
            _end(worker)

    def tick(self) -> None:
        """What the time brings: questions whether workers live, the ends of pauses and of quarantines."""
        now_s = self._clock()
        for worker in list(self.workers):
            self._guarded(worker, partial(worker.tick, now_s))
        for handle in (*self._quarantine.release(now_s), *self._lacking_files()):
            self._release(handle)
        self._assign()
        if not self.workers:
            self._spare.end()
        elif all(worker.has_started for worker in self.workers):
            self._spare.tick(now_s)

    @property
    def has_waiting_clips(self) -> bool:
        """Whether a clip waits for space in the queue."""
        return any(feed.has_waiting for worker in self.workers for feed in worker.feeds.values())

    def end(self) -> None:
        """Ends every worker and every feed."""
        self._spare.end()
        feeds = list(self._unassigned.values())
        for worker in self.workers:
            _end(worker)
            feeds += [*worker.feeds.values(), *worker.closing.values()]
        for feed in feeds:
            feed.ended()
        self.workers, self._unassigned = [], {}

    def _lacking_files(self) -> list[int]:
        """The cameras of outdated workers whose trouble may be that, and all of the oldest beyond `num_workers`."""
        troubled = {worker: worker.troubled(_MAY_LACK_A_FILE) for worker in self.workers}
        if any(troubled.values()):
            folders = self._folders()
            for worker, handles in troubled.items():
                worker.is_outdated |= bool(handles) and not worker.folders >= folders
        outdated = [worker for worker in self.workers if worker.is_outdated]
        beyond = [handle for worker in outdated[: -self._num_workers] for handle in worker.feeds]
        return beyond + [handle for worker in outdated[-self._num_workers :] for handle in troubled[worker]]

    def _assign(self) -> None:
        now_s = self._clock()
        for feed in [feed for feed in self._unassigned.values() if feed.retry_s <= now_s]:
            try:
                worker = self._worker_for(feed, now_s)
            except OSError as error:
                self._did_not_start([feed], error.strerror or type(error).__name__)
                continue
            del self._unassigned[feed.handle]
            self._guarded(worker, partial(worker.open, feed))

    def _worker_for(self, feed: WorkerFeed, now_s: float) -> WorkerCameras:
        is_alone = self._quarantine.is_alone(feed.handle)
        folders = self._folders() if feed.camera.is_file else frozenset()
        common = [worker for worker in self.workers if not worker.is_alone and not worker.is_outdated]
        # A folder that is newer than a worker stays closed to it.
        able = [worker for worker in common if worker.folders >= folders]
        most = self._num_workers if able else _MOST_TIMES * self._num_workers
        if is_alone or len(common) < most:
            # The camera that ends workers has time, its neighbours have not.
            spare = None if is_alone else self._spare.take(self._folders(), now_s)
            worker = spare or self._started(is_alone=is_alone)
            self.workers.append(worker)
            return worker
        return min(able or common, key=lambda worker: len(worker.feeds))

    def _started(self, *, is_alone: bool) -> WorkerCameras:
        folders = self._folders()
        worker = WorkerCameras(self._start(), self._clock(), self._limits, is_alone=is_alone)
        worker.folders = folders
        return worker

    def _release(self, handle: int) -> None:
        for worker in self.workers:
            if handle in worker.feeds:
                self._guarded(worker, partial(worker.release, handle))
                return

    def _guarded(self, worker: WorkerCameras, act: Callable[[], _Result]) -> _Result | None:
        try:
            return act()
        except WorkerError as error:
            self._ended(worker, str(error))
        except Exception as error:  # noqa: BLE001 - a fault ends one worker, and is logged as its end
            self._ended(worker, f"internal error: {type(error).__name__}: {error}")
        return None

    def _ended(self, worker: WorkerCameras, why: str) -> None:
        """A worker has ended or is useless: kills it, and decides how its cameras go on."""
        self.workers.remove(worker)
        cause = _end(worker) or why
        for feed in worker.closing.values():
            if feed.is_stopped:
                feed.ended()
            else:
                self._unassigned[feed.handle] = feed
        feeds = worker.feeds
        names = [feed.camera.spec.name for feed in feeds.values()]
        log.warning("ingest_worker_ended", reason=cause, cameras=", ".join(names))
        if not worker.has_started:
            self._did_not_start(list(feeds.values()), cause)
            return
        restarts = self._quarantine.worker_ended(feeds.keys(), self._clock(), worker.link.crashed_camera)
        for handle, restart in restarts.items():
            self._restart(feeds[handle], restart, cause)

    def _restart(self, feed: WorkerFeed, restart: Restart, cause: str) -> None:
        feed.retry_s = self._clock() + restart.pause_s
        self._unassigned[feed.handle] = feed
        if not restart.is_guilty:
            feed.report(CameraState.STALLED, f"its ingest worker ended ({cause}) and is started again")
            return
        often = "once" if restart.crashes == 1 else f"{restart.crashes} times"
        detail = f"it ended its ingest worker {often} ({cause}); {self._next_try(restart.pause_s)}"
        feed.report(CameraState.BACKING_OFF, detail, SourceReason.DECODER_CRASHED)
        log.warning("decoder_crashed", camera=feed.camera.spec.name, reason=cause, crashes=restart.crashes)

    def _next_try(self, pause_s: float) -> str:
        return f"try again at {utc_text(self._wall() + pause_s)}"

    def _did_not_start(self, feeds: list[WorkerFeed], cause: str) -> None:
        pause_s = backoff.pause_s(FIRST_START_RETRY_S, LAST_START_RETRY_S, self._failed_starts)
        self._failed_starts += 1
        for feed in feeds:
            feed.retry_s = self._clock() + pause_s
            self._unassigned[feed.handle] = feed
            detail = f"its ingest worker does not start ({cause}); {self._next_try(pause_s)}"
            feed.report(CameraState.BACKING_OFF, detail)


def _end(worker: WorkerCameras) -> str:
    """Kills its process; how it ended, in words. What cannot be freed of one worker leaves the others as they are."""
    try:
        return worker.link.end()
    except OSError as error:
        log.error("ingest_worker_not_freed", pid=worker.link.pid, error=error.strerror or type(error).__name__)
        return ""
