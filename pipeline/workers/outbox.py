"""The clips of one camera on their way out of a worker: a bounded number, and no more than the shard takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.sources.clip_queue import DROPPED
from pipeline.sources.clips import Clip

WINDOW = 4  # clips on their way that the shard has not taken yet


class Outbox:
    """A ClipSink of one camera. Beyond the window one clip waits; a live source's newer one takes its place."""

    def __init__(self, send: Callable[[Clip, bool], None], on_lost: Callable[[int], None]) -> None:
        """send: takes a clip, and whether its source waits for the device. on_lost: takes a number of lost frames."""
        self._send, self._on_lost = send, on_lost
        self._changed = threading.Condition()
        self._on_the_way = 0
        self._waiting: Clip | None = None
        self._can_wait = False

    def put(self, clip: Clip) -> int:
        """Sends the clip, or keeps it until there is room. The one that was kept before is lost and counted."""
        with self._changed:
            lost, self._waiting = self._waiting, None
            if lost is not None:
                clip = clip.after_loss(DROPPED)
            if self._on_the_way < WINDOW:
                self._pass_on(clip)
            else:
                self._waiting = clip
        if lost is None:
            return 0
        self._on_lost(len(lost.times_s))
        return len(lost.times_s)

    def wait_for_space(self, camera: str, timeout_s: float) -> bool:
        """Blocks until a put would lose nothing; False after `timeout_s`."""
        with self._changed:
            self._can_wait = True
            return self._changed.wait_for(lambda: self._on_the_way < WINDOW, timeout_s)

    def count_dropped(self, camera: str, frames: int) -> None:
        """Counts sampled frames that were lost before they became a clip."""
        self._on_lost(frames)

    def taken(self) -> None:
        """The shard took a clip."""
        with self._changed:
            self._on_the_way -= 1
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                self._pass_on(waiting)
            self._changed.notify_all()

    def _pass_on(self, clip: Clip) -> None:
        self._on_the_way += 1
        self._send(clip, self._can_wait)
