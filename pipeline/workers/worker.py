"""An ingest worker's process: python -m pipeline.workers.worker CHANNEL CRASHES PARENT NBYTES. Its shard starts it."""

from __future__ import annotations

import itertools
import math
import os
import socket
import sys
import threading
from collections.abc import Iterator

import structlog
from structlog.typing import EventDict

from pipeline.cameras import CameraState, SourceReason
from pipeline.picture_note import PictureNote
from pipeline.sources import probe
from pipeline.sources.clips import Clip
from pipeline.sources.feed import CameraFeed
from pipeline.sources.frame_clock import SteadyClock
from pipeline.workers import clip_messages, confinement, framing, messages, seccomp_filter
from pipeline.workers.crash_report import CrashReport
from pipeline.workers.framing import FrameReader
from pipeline.workers.heartbeat import Heartbeat, longest_call_s
from pipeline.workers.memory_watch import MemoryWatch
from pipeline.workers.messages import (
    MAX_BODY_NBYTES,
    MAX_FIELDS,
    MAX_ORDER_NBYTES,
    MAX_TEXT,
    Alive,
    Begin,
    CameraClosed,
    CloseCamera,
    FramesLost,
    LimitRate,
    Logged,
    OpenCamera,
    Order,
    Ping,
    ProbeUrl,
    Report,
    StateChanged,
    Taken,
    UrlProbed,
)
from pipeline.workers.outbox import Outbox
from pipeline.workers.remote_decoding import RemoteDecoding
from pipeline.workers.segment_messages import SegmentDecoded

_CHUNK_NBYTES = 1 << 18
_CLOSING_S = 60.0  # a thread that is blocked in a connection ends within the limits of ingest
_LEVELS = frozenset({"debug", "info", "warning", "error"})

log = structlog.get_logger(__name__)


class Worker:
    """Watches cameras as its shard orders, until that closes the channel. One thread reads orders; feeds write."""

    def __init__(self, channel: socket.socket, crash_report: CrashReport) -> None:
        self._channel, self._crash_report = channel, crash_report
        self._memory = MemoryWatch()
        self._clock = SteadyClock()  # of every feed
        self._sending = threading.Lock()
        self._feeds: dict[int, CameraFeed] = {}
        self._outboxes: dict[int, Outbox] = {}
        self._heartbeats: dict[int, Heartbeat] = {}
        self._decodings: dict[int, RemoteDecoding] = {}
        self._segments = itertools.count()

    def run(self) -> None:
        """Returns when the shard has closed the channel."""
        for order, body in self._received():
            match order:
                case Begin():
                    if problem := confinement.close_files(order.folders):
                        log.warning("ingest_worker_not_confined", reason=problem)
                    self.send(Alive())
                case Ping():
                    self._memory.end_if_used_up()
                    self._end_if_stuck()
                    self.send(Alive())
                case OpenCamera():
                    self._open(order)
                case LimitRate():
                    if (limited := self._feeds.get(order.camera)) is not None:
                        limited.limit_rate(order.share)
                case CloseCamera():
                    self._close(order.camera)
                case Taken():
                    self._taken(order)
                case SegmentDecoded():
                    if (decoding := self._decodings.get(order.camera)) is not None:
                        decoding.receive(order, body)
                case ProbeUrl():
                    self.send(UrlProbed(result=probe.probe_url(order.url, order.config, order.tls)))

    def send(self, report: Report, *body: memoryview) -> None:
        """Sends a report; blocks while the shard reads nothing. Ends the process when the shard is gone."""
        try:
            with self._sending:
                self._channel.sendall(framing.frame(messages.encode(report), *body))
        except OSError:
            os._exit(0)

    def log_event(self, logger: object, name: str, event: EventDict) -> EventDict:
        """Passes an event on to the log of the shard. A structlog processor, the last one."""
        fields = {key: _plain(value) for key, value in list(event.items())[:MAX_FIELDS] if key != "event"}
        level = name if name in _LEVELS else "error"
        self.send(Logged(level=level, event=str(event["event"]), fields=fields))  # type: ignore[arg-type]
        raise structlog.DropEvent

    def _received(self) -> Iterator[tuple[Order, bytearray]]:
        reader = FrameReader(MAX_ORDER_NBYTES, MAX_BODY_NBYTES)
        while data := self._channel.recv(_CHUNK_NBYTES):
            for header, body in reader.feed(data):
                yield messages.parse_order(header), body

    def _open(self, order: OpenCamera) -> None:
        handle = order.camera

        def send_clip(clip: Clip, can_wait: bool) -> None:
            self.send(clip_messages.clip_header(handle, clip, can_wait=can_wait), *clip_messages.clip_body(clip))

        def on_state(state: CameraState, detail: str, reason: SourceReason | None, note: PictureNote | None) -> None:
            self.send(StateChanged(camera=handle, state=state, detail=detail[:MAX_TEXT], reason=reason, note=note))

        heartbeat = self._heartbeats[handle] = Heartbeat(self._clock, longest_call_s(order.config))
        outbox = Outbox(send_clip, lambda frames: self.send(FramesLost(camera=handle, frames=frames)))
        decoding = self._decodings[handle] = RemoteDecoding(order, self._segments, self.send)
        feed = CameraFeed(
            order.spec,
            order.config,
            order.fit,
            outbox,
            on_state=on_state,
            camera_id=order.camera_id,
            resume_from_s=order.resume_from_s,
            started_s=order.started_s,
            choose_decoder=decoding,
            clock=heartbeat,
        )
        feed.limit_rate(order.rate_share)
        self._outboxes[handle], self._feeds[handle] = outbox, feed
        feed.start()
        self._crash_report.note_thread(handle, feed.thread_ident)

    def _end_if_stuck(self) -> None:
        """Ends the process if a camera is caught in a library: nothing else ends such a thread."""
        # A copy: the threads that close cameras take theirs out meanwhile.
        stuck = [camera for camera, heartbeat in list(self._heartbeats.items()) if heartbeat.is_stuck()]
        if stuck:
            self._crash_report.blame(stuck[0])
            os.write(2, b"a decoder does not come back")
            os._exit(1)

    def _taken(self, order: Taken) -> None:
        if order.camera not in self._feeds:  # its clip was on the way when it was closed
            return
        self._outboxes[order.camera].taken()
        if order.has_lost:
            self._feeds[order.camera].note_loss(self._clock())

    def _close(self, handle: int) -> None:
        self._outboxes.pop(handle)
        feed = self._feeds.pop(handle)
        feed.request_stop()
        self._decodings.pop(handle).close()

        def await_end() -> None:
            feed.stop(_CLOSING_S)
            self._heartbeats.pop(handle, None)
            self.send(CameraClosed(camera=handle))

        threading.Thread(target=await_end, daemon=True).start()


def _plain(value: object) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)[-MAX_TEXT:]


def main() -> None:
    """Runs a worker on an inherited socket and an inherited file."""
    channel, crashes, parent, memory_nbytes = map(int, sys.argv[1:])
    confinement.limit(parent, memory_nbytes)
    crash_report = CrashReport(crashes)
    crash_report.report_faults()
    worker = Worker(socket.socket(fileno=channel), crash_report)
    structlog.configure(processors=[worker.log_event])
    if problem := seccomp_filter.install():
        log.warning("ingest_worker_not_confined", reason=problem)
    worker.run()
    os._exit(0)  # threads of feeds may be blocked in libav


if __name__ == "__main__":
    main()
