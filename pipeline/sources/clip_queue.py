"""Between the cameras' threads and the device's: a bounded queue of clips for each camera, where the newest wins."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator

from pipeline.sources.clips import Clip


class ClipQueue:
    """Clips on their way to the device. Any thread may call anything; nothing but wait_for_space blocks."""

    def __init__(self, max_clips: int, on_put: Callable[[], None] = lambda: None) -> None:
        """`max_clips` of each camera wait; `on_put` is called, in the camera's thread, after each put."""
        self._max_clips = max_clips
        self._on_put = on_put
        self._waiting: OrderedDict[str, deque[Clip]] = OrderedDict()  # the next camera to be served first
        self._dropped: Counter[str] = Counter()
        self._held: dict[str, int] = {}  # and how many frames had been dropped by then
        self._after_s: dict[str, float] = {}
        self._changed = threading.Condition()

    def put(self, clip: Clip) -> None:
        """Queues a clip; where the camera has max_clips already its oldest is dropped and counted."""
        with self._changed:
            clips = self._waiting.setdefault(clip.camera, deque())
            if len(clips) == self._max_clips:
                self._dropped[clip.camera] += len(clips.popleft().times_s)
            clips.append(clip)
        self._on_put()

    def take(self) -> Clip | None:
        """The oldest clip of the camera that has waited longest for its turn; None if no clip waits."""
        with self._changed:
            while (camera := next(self._ready(), None)) is not None:
                self._waiting.move_to_end(camera)
                self._changed.notify_all()
                clip = self._waiting[camera].popleft().after(self._after_s.get(camera, -math.inf))
                if clip is not None:
                    return clip
        return None

    def has_clips(self) -> bool:
        """Whether a clip waits that is not held."""
        with self._changed:
            return next(self._ready(), None) is not None

    def hold_back(self, camera: str) -> None:
        """Keeps the camera's clips, newest wins as ever, until `release`: none is taken."""
        with self._changed:
            self._held[camera] = self._dropped[camera]

    def held_back_since_s(self, camera: str) -> float | None:
        """The time of the oldest frame that is held."""
        with self._changed:
            clips = self._waiting.get(camera)
            return clips[0].times_s[0] if clips and camera in self._held else None

    def release(self, camera: str, after_s: float = -math.inf) -> None:
        """Ends `hold`; frames up to `after_s`, of clips that are still to come too, were seen elsewhere."""
        with self._changed:
            dropped_before, clips = self._held.pop(camera, 0), self._waiting.get(camera)
            if clips and clips[0].times_s[0] <= after_s:
                self._dropped[camera] = dropped_before
            self._after_s[camera] = after_s
        self._on_put()

    def wait_for_space(self, camera: str, timeout_s: float) -> bool:
        """Blocks until a put would drop nothing; False if that takes too long. For sources that can wait."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count(camera) < self._max_clips, timeout_s)

    def count_dropped(self, camera: str, frames: int) -> None:
        """Counts sampled frames that were lost on the way here."""
        with self._changed:
            self._dropped[camera] += frames

    def dropped_frames(self, camera: str) -> int:
        """Sampled frames of this camera that will never be seen, here or before."""
        with self._changed:
            return self._dropped[camera]

    def remove(self, camera: str) -> None:
        """Removes the camera's clips and count."""
        with self._changed:
            self._waiting.pop(camera, None)
            self._dropped.pop(camera, None)
            self._after_s.pop(camera, None)
            self._held.pop(camera, None)
            self._changed.notify_all()

    def _ready(self) -> Iterator[str]:
        return (camera for camera, clips in self._waiting.items() if clips and camera not in self._held)

    def _count(self, camera: str) -> int:
        return len(self._waiting.get(camera, ()))
