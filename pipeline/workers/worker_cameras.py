"""One worker and its cameras, as its shard sees them. Every method raises WorkerError once the worker is useless."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline.cameras import SourceReason
from pipeline.workers import clip_messages
from pipeline.workers.confinement import MAX_MEMORY_NBYTES
from pipeline.workers.errors import MalformedMessage, WorkerUnreachable
from pipeline.workers.liveness import Liveness
from pipeline.workers.messages import (
    Alive,
    CameraClosed,
    ClipHeader,
    CloseCamera,
    FramesLost,
    LimitRate,
    Logged,
    Ping,
    Report,
    StateChanged,
    Taken,
)
from pipeline.workers.segment_messages import CompressedSegment, SegmentDecoded
from pipeline.workers.token_bucket import TokenBucket
from pipeline.workers.worker_feed import WorkerFeed
from pipeline.workers.worker_link import WorkerLink
from pipeline.workers.worker_log import WorkerLog

MAX_REPORTS_PER_S, MAX_REPORTS_AT_ONCE = 5_000, 20_000  # of one worker: 64 cameras at 60 frames/s say less


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What a worker may take of time and memory.

    hang_s: seconds without an answer after which a worker hangs, even if it waits for a core. start_s: seconds until a
    worker must have started. soon_s: two workers that end within so many seconds ended for one cause. memory_nbytes: of
    one worker, at most.
    """

    hang_s: float = 5.0
    start_s: float = 60.0
    soon_s: float = 300.0
    memory_nbytes: int = MAX_MEMORY_NBYTES


Folders = frozenset[tuple[Path, int, int]]


class WorkerCameras:
    """Passes on what a worker says of its cameras. is_alone: it is for one camera only."""

    def __init__(self, link: WorkerLink, now_s: float, limits: WorkerLimits, *, is_alone: bool) -> None:
        self.link = link
        self._limits = limits
        self.is_alone = is_alone
        self.folders: Folders = frozenset()  # what it may read, as it was when it started
        self.is_outdated = False  # it gets no more cameras, because something of that was replaced
        self.has_started = False
        self.feeds: dict[int, WorkerFeed] = {}
        self.closing: dict[int, WorkerFeed] = {}  # cameras whose connections it closes
        self._started_s = now_s
        self._liveness = Liveness(limits.hang_s)
        self._reports = TokenBucket(MAX_REPORTS_PER_S, MAX_REPORTS_AT_ONCE)
        self._log = WorkerLog()
        self._decoding: set[int] = set()  # cameras of which a segment is decoded for it

    def open(self, feed: WorkerFeed) -> None:
        """Has it watch a camera."""
        self.feeds[feed.handle] = feed
        self.link.send(feed.order)

    def troubled(self, reasons: Collection[SourceReason]) -> list[int]:
        """Those of its cameras whose trouble is one of these."""
        return [handle for handle, feed in self.feeds.items() if feed.trouble in reasons]

    def limit_rate(self, feed: WorkerFeed) -> None:
        """Has it sample a camera at the feed's share of its rate."""
        self.link.send(LimitRate(camera=feed.handle, share=feed.rate_share))

    def release(self, handle: int) -> None:
        """Has it close a camera's connections; `read` says when it has."""
        self.closing[handle] = self.feeds.pop(handle)
        self._decoding.discard(handle)
        self.link.send(CloseCamera(camera=handle))

    def send_decoded(self, decoded: SegmentDecoded, body: list[memoryview]) -> None:
        """Sends it what was decoded of a segment."""
        self._decoding.discard(decoded.camera)
        self.link.send(decoded, *body)

    def read(self, now_s: float) -> list[WorkerFeed]:
        """Takes what it has said; the cameras that it has closed."""
        closed = []
        for report, body in self.link.receive():
            if not self._reports.take(now_s):
                raise MalformedMessage(f"more than {MAX_REPORTS_PER_S} messages a second")
            self._liveness.heard(has_answered=isinstance(report, Alive))
            if isinstance(report, CameraClosed):
                if (feed := self.closing.pop(report.camera, None)) is not None:
                    closed.append(feed)
            else:
                self._take(report, body, now_s)
        return closed

    def tick(self, now_s: float) -> None:
        """Asks whether it lives, and sends on the clips for which there is space now."""
        if not self.has_started:
            if now_s - self._started_s > self._limits.start_s:
                raise WorkerUnreachable(f"no answer for {self._limits.start_s:g} s")
            return
        late_s = self._liveness.late_s(now_s)
        if late_s and self._liveness.is_hung(now_s, self.link.activity()):
            raise WorkerUnreachable(f"it hangs, no answer for {late_s:.1f} s")
        self._log.tick(now_s)
        for feed in self.feeds.values():
            self._deliver(feed)
        if self._liveness.needs_ping(now_s):
            self.link.send(Ping())

    def _deliver(self, feed: WorkerFeed) -> None:
        for _ in range(feed.deliver()):
            self.link.send(Taken(camera=feed.handle))

    def _take(self, report: Report, body: bytearray, now_s: float) -> None:
        match report:
            case Alive():
                self.has_started = True
            case Logged():
                self._log.add(report, now_s)
            case ClipHeader() | StateChanged() | FramesLost() | CompressedSegment():
                # What it still says of a camera after its release is passed over.
                if (feed := self.feeds.get(report.camera)) is not None:
                    self._pass_on(feed, report, body)

    def _pass_on(
        self, feed: WorkerFeed, report: ClipHeader | StateChanged | FramesLost | CompressedSegment, body: bytearray
    ) -> None:
        match report:
            case CompressedSegment():
                if feed.handle in self._decoding:
                    raise MalformedMessage("a segment before the last one was decoded")
                self._decoding.add(feed.handle)
                feed.decode(report, body, self.link)
            case ClipHeader():
                feed.camera.require_possible(report)
                feed.require_later(report.times_s[0])
                clip = clip_messages.clip_of(report, body, feed.camera.camera_id)
                if report.can_wait:
                    feed.keep(clip)
                    self._deliver(feed)
                else:
                    self.link.send(Taken(camera=feed.handle, has_lost=feed.accept(clip) > 0))
            case StateChanged():
                feed.report(report.state, report.detail, report.reason, report.note)
            case FramesLost():
                feed.count_lost(report.frames)
