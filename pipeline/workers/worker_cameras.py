"""One worker and its cameras, as its shard sees them. Every method raises WorkerError once the worker is useless."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from pipeline.workers import messages
from pipeline.workers.errors import WorkerUnreachable
from pipeline.workers.messages import (
    Alive,
    CameraClosed,
    ClipHeader,
    CloseCamera,
    FramesLost,
    Logged,
    Order,
    Ping,
    Report,
    StateChanged,
    Taken,
)
from pipeline.workers.worker_feed import WorkerFeed

log = structlog.get_logger(__name__)

PING_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """Seconds: until a worker that does not answer counts as hung, has not started, and after which two ends of workers
    have two causes.
    """

    hang_s: float = 5.0
    start_s: float = 60.0
    soon_s: float = 300.0


class WorkerLink(Protocol):
    """A worker's process: a WorkerProcess."""

    pid: int

    def fileno(self) -> int: ...

    def send(self, order: Order) -> None: ...

    def flush(self) -> bool: ...

    def receive(self) -> Iterator[tuple[Report, bytearray]]: ...

    def end(self) -> str: ...


class WorkerCameras:
    """Passes on what a worker says of its cameras. is_alone: it is for one camera only."""

    def __init__(self, link: WorkerLink, now_s: float, limits: WorkerLimits, *, is_alone: bool) -> None:
        self.link = link
        self._limits = limits
        self.is_alone = is_alone
        self.has_started = False
        self.feeds: dict[int, WorkerFeed] = {}
        self.closing: dict[int, WorkerFeed] = {}  # cameras whose connections it closes
        self._waits_since_s: float | None = now_s  # for an answer
        self._next_ping_s = now_s

    def open(self, feed: WorkerFeed) -> None:
        """Has it watch a camera."""
        self.feeds[feed.handle] = feed
        self.link.send(feed.order)

    def release(self, handle: int) -> None:
        """Has it close a camera's connections; `read` says when it has."""
        self.closing[handle] = self.feeds.pop(handle)
        self.link.send(CloseCamera(camera=handle))

    def read(self) -> list[WorkerFeed]:
        """Takes what it has said; the cameras that it has closed."""
        self.link.flush()
        closed = []
        for report, body in self.link.receive():
            if isinstance(report, CameraClosed):
                if (feed := self.closing.pop(report.camera, None)) is not None:
                    closed.append(feed)
            else:
                self._take(report, body)
        return closed

    def tick(self, now_s: float) -> None:
        """Asks whether it lives, and sends on the clips for which there is space now."""
        limit_s = self._limits.hang_s if self.has_started else self._limits.start_s
        if self._waits_since_s is not None and now_s - self._waits_since_s > limit_s:
            raise WorkerUnreachable(f"no answer for {limit_s:g} s")
        for feed in self.feeds.values():
            self._deliver(feed)
        if self.has_started and now_s >= self._next_ping_s:
            self._next_ping_s = now_s + PING_EVERY_S
            self._waits_since_s = now_s if self._waits_since_s is None else self._waits_since_s
            self.link.send(Ping())

    def _deliver(self, feed: WorkerFeed) -> None:
        for _ in range(feed.deliver()):
            self.link.send(Taken(camera=feed.handle))

    def _take(self, report: Report, body: bytearray) -> None:
        match report:
            case Alive():
                self.has_started, self._waits_since_s = True, None
            case Logged():
                getattr(log, report.level)(report.event, **report.fields)
            case ClipHeader() | StateChanged() | FramesLost():
                # What it still says of a camera after its release is passed over.
                if (feed := self.feeds.get(report.camera)) is not None:
                    self._pass_on(feed, report, body)

    def _pass_on(self, feed: WorkerFeed, report: ClipHeader | StateChanged | FramesLost, body: bytearray) -> None:
        match report:
            case ClipHeader():
                feed.camera.require_possible(report)
                clip = messages.clip_of(report, body, feed.camera.camera_id)
                if report.can_wait:
                    feed.keep(clip)
                    self._deliver(feed)
                else:
                    self.link.send(Taken(camera=feed.handle, has_lost=feed.accept(clip) > 0))
            case StateChanged():
                feed.report(report.state, report.detail, report.reason)
            case FramesLost():
                feed.count_lost(report.frames)
