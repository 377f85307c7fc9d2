"""A camera's feed whose source runs in an ingest worker."""

from __future__ import annotations

import math
import threading
from collections import deque
from functools import partial
from typing import Protocol

from pipeline.cameras import CameraState, SourceReason
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed import STOP_TIMEOUT_S
from pipeline.sources.feed_output import OnState
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.messages import OpenCamera
from pipeline.workers.outbox import WINDOW
from pipeline.workers.segment_decoding import CameraDecoder
from pipeline.workers.segment_messages import CompressedSegment, SegmentDecoded
from pipeline.workers.watched_camera import WatchedCamera
from pipeline.workers.worker_link import WorkerLink

MAX_KEPT = 4 * WINDOW  # clips: a worker sends no more than its window, and one that ended may have left as many


class FeedOwner(Protocol):
    """Has workers do what feeds want: a Supervisor, or what calls one in its thread."""

    def open(self, feed: WorkerFeed) -> None: ...

    def limit_rate(self, feed: WorkerFeed) -> None: ...

    def close(self, feed: WorkerFeed) -> None: ...

    def send_decoded(self, link: WorkerLink, decoded: SegmentDecoded, body: list[memoryview]) -> None: ...


class WorkerFeed:
    """Passes a camera's clips and states on, as a CameraFeed does. What stands below `stop` is the pool's thread's."""

    def __init__(
        self,
        handle: int,
        camera: WatchedCamera,
        clips: ClipQueue,
        on_state: OnState,
        owner: FeedOwner,
        decoder: CameraDecoder | None = None,
    ) -> None:
        """Raises InvalidCamera for an invalid URL. decoder: of segments of its worker; without one it decodes all."""
        urls.parse_source(camera.spec)
        self.handle, self.camera = handle, camera
        self.retry_s = -math.inf  # no worker gets it before
        self.is_stopped = False
        self.trouble: SourceReason | None = None  # that its worker told last
        self._clips, self._on_state = clips, on_state
        self._owner, self._decoder = owner, decoder
        self.rate_share = 1.0
        self._newest_s = camera.resume_from_s
        self._waiting: deque[Clip] = deque()
        self._output_lock = threading.Lock()  # no clip and no state passes once stop() has returned
        self._has_ended = threading.Event()
        REDACTOR.remember(camera.spec.url)

    def start(self) -> None:
        """Has a worker open the source. Call it once."""
        self._owner.open(self)

    def limit_rate(self, share: float) -> None:
        """As CameraFeed.limit_rate."""
        self.rate_share = share
        self._owner.limit_rate(self)

    def request_stop(self) -> None:
        """Ends the feed: no clip and no state follows. Does not wait for its connections."""
        with self._output_lock:
            was_stopped, self.is_stopped = self.is_stopped, True
        if not was_stopped:
            self._owner.close(self)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends the feed, and blocks for at most `timeout_s` until its connections are closed."""
        self.request_stop()
        self._has_ended.wait(timeout_s)

    @property
    def order(self) -> OpenCamera:
        """The order to go on where the last clip ended."""
        camera = self.camera
        return OpenCamera(
            camera=self.handle,
            camera_id=camera.camera_id,
            spec=camera.spec,
            config=camera.config,
            fit=camera.fit,
            resume_from_s=self._newest_s,
            started_s=camera.started_s,
            rate_share=self.rate_share,
            gpu=self._decoder.gpu if self._decoder else None,
        )

    def decode(self, segment: CompressedSegment, file: bytearray, link: WorkerLink) -> None:
        """Decodes a segment on another thread, for the worker of this link. Raises MalformedMessage."""
        if self._decoder is None:
            raise MalformedMessage("a segment although nothing decodes it here")
        self._decoder.decode(segment, file, partial(self._owner.send_decoded, link))

    def require_later(self, time_s: float) -> None:
        """Raises MalformedMessage for a clip that begins no later than the last one ended: the times of a feed rise."""
        if self._newest_s is not None and time_s <= self._newest_s:
            raise MalformedMessage(f"a frame of {time_s:.3f} behind one of {self._newest_s:.3f}")

    def accept(self, clip: Clip) -> int:
        """Queues a clip of a live source; how many older frames were lost for it."""
        self._newest_s = clip.times_s[-1]
        return self._put(clip)

    def keep(self, clip: Clip) -> None:
        """Keeps a clip of a source that can wait until `deliver` finds space. Raises MalformedMessage for too many."""
        if len(self._waiting) >= MAX_KEPT:
            raise MalformedMessage(f"more than {MAX_KEPT} clips that were not asked for")
        self._newest_s = clip.times_s[-1]
        self._waiting.append(clip)

    def deliver(self) -> int:
        """Queues clips that were kept, as far as there is space; how many."""
        delivered = 0
        while self._waiting and (self.is_stopped or self._clips.wait_for_space(self.camera.camera_id, 0)):
            self._put(self._waiting.popleft())
            delivered += 1
        return delivered

    @property
    def has_waiting(self) -> bool:
        """Whether clips are kept until there is space."""
        return bool(self._waiting)

    def report(
        self,
        state: CameraState,
        detail: str,
        reason: SourceReason | None = None,
        note: PictureNote | None = None,
    ) -> None:
        """Passes a state on."""
        self.trouble = reason
        with self._output_lock:
            if not self.is_stopped:
                self._on_state(state, detail, reason, note)

    def count_lost(self, frames: int) -> None:
        """Counts frames that were lost before they became a clip."""
        with self._output_lock:
            if not self.is_stopped:
                self._clips.count_dropped(self.camera.camera_id, frames)

    def ended(self) -> None:
        """Its connections are closed."""
        if not self._has_ended.is_set():
            REDACTOR.forget(self.camera.spec.url)
            self._has_ended.set()

    def _put(self, clip: Clip) -> int:
        with self._output_lock:
            return 0 if self.is_stopped else self._clips.put(clip)
