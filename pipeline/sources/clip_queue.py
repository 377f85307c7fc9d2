"""Hands clips from camera threads to the device thread. Each camera has a bounded queue that drops its oldest clip."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Protocol

from cache_store.gap import GapReason
from pipeline.sources.clips import Clip

DROPPED = GapReason.DROPPED  # the reason of the gap that they leave


class ClipSink(Protocol):
    """Where a feed puts its clips: a ClipQueue, or what leads to one in another process."""

    def put(self, clip: Clip) -> int:
        """Takes a clip; how many frames of older ones are lost for it."""

    def wait_for_space(self, camera: str, timeout_s: float) -> bool: ...

    def count_dropped(self, camera: str, frames: int) -> None: ...


class ClipQueue:
    """Clips on their way to the device. Thread-safe; only wait_for_space blocks."""

    def __init__(self, max_clips: int, on_put: Callable[[], None] = lambda: None) -> None:
        """`max_clips`: of each camera. `on_put` is called after each put, in the calling thread."""
        self._max_clips = max_clips
        self._on_put = on_put
        self._waiting: OrderedDict[str, deque[Clip]] = OrderedDict()  # in the order of the cameras' turns
        self._dropped: Counter[str] = Counter()
        self._held_back: dict[str, int] = {}  # camera -> frames dropped before hold_back
        self._after_s: dict[str, float] = {}
        self._periods_s: dict[str, float] = {}  # of each camera's newest clip
        self._taken: dict[str, tuple[float, ...]] = {}  # the times of each camera's newest clip taken, until `claim`
        self._changed = threading.Condition()

    def put(self, clip: Clip) -> int:
        """Queues a clip. If the camera has max_clips already, its oldest clip is dropped and counted.

        How many frames were dropped; 0 while clips are held back, because then nobody is too slow.
        """
        lost = 0
        with self._changed:
            clips = self._waiting.setdefault(clip.camera, deque())
            self._periods_s[clip.camera] = clip.period_s
            if len(clips) == self._max_clips:
                lost = len(clips.popleft().times_s)
                self._dropped[clip.camera] += lost
                clips.append(clip)
                clips[0] = clips[0].after_loss(DROPPED)
            else:
                clips.append(clip)
            lost = 0 if clip.camera in self._held_back else lost
        self._on_put()
        return lost

    def take(self, max_frames: int | None = None) -> Clip | None:
        """Removes and returns the oldest frames of the camera whose turn it is; None if no clip is ready.

        They are of one clip, at most `max_frames`; the rest of the clip stays the camera's oldest.
        """
        return next(iter(self.take_steps(1, max_frames)), None)

    def take_steps(self, count: int, max_frames: int | None = None) -> list[Clip]:
        """As `take`, of up to `count` cameras, each once, in the order of their turns."""
        steps: dict[str, Clip] = {}
        with self._changed:
            while len(steps) < count and (camera := next((one for one in self._ready() if one not in steps), None)):
                self._waiting.move_to_end(camera)
                self._changed.notify_all()
                clips = self._waiting[camera]
                clip = clips.popleft().after(self._after_s.get(camera, -math.inf))
                if clip is None:
                    continue
                if max_frames is not None and len(clip.times_s) > max_frames:
                    clips.appendleft(clip.part(slice(max_frames, None)))
                    clip = clip.part(slice(max_frames))
                steps[camera] = clip
                self._taken[camera] = clip.times_s
        return list(steps.values())

    def claim(self, clip: Clip) -> bool:
        """Whether a clip that was taken is still wanted: none of its camera's was discarded since. True once.

        After that nothing discards it.
        """
        with self._changed:
            is_wanted = self._taken.get(clip.camera) is clip.times_s
            if is_wanted:
                del self._taken[clip.camera]
            return is_wanted

    def take_back(self, clip: Clip) -> bool:
        """Puts a clip that was taken and not claimed back in front of its camera's if those are held back now.

        Whether it was put back. A full queue drops it instead, because it is the oldest.
        """
        with self._changed:
            if clip.camera not in self._held_back or self._taken.get(clip.camera) is not clip.times_s:
                return False
            del self._taken[clip.camera]
            clips = self._waiting.setdefault(clip.camera, deque())
            if len(clips) < self._max_clips:
                clips.appendleft(clip)
            else:
                self._dropped[clip.camera] += len(clip.times_s)
                clips[0] = clips[0].after_loss(DROPPED)
            return True

    def next_steps(self, max_frames: int) -> list[int]:
        """How many frames each of the next cameras of `take_steps` has for it, at most."""
        with self._changed:
            return [min(max_frames, len(self._waiting[camera][0].times_s)) for camera in self._ready()]

    def has_clips(self) -> bool:
        """Whether `take` may return a clip."""
        with self._changed:
            return next(self._ready(), None) is not None

    def hold_back(self, camera: str) -> None:
        """Stops `take` from returning the camera's clips until `release`; a full queue still drops its oldest."""
        with self._changed:
            self._held_back[camera] = self._dropped[camera]

    def held_back_since_s(self, camera: str) -> float | None:
        """The time of the oldest frame that is held back, None if none is."""
        with self._changed:
            clips = self._waiting.get(camera)
            return clips[0].times_s[0] if clips and camera in self._held_back else None

    def release(self, camera: str, after_s: float = -math.inf) -> None:
        """Ends `hold_back`. Frames up to `after_s`, also of later clips, are left out: another shard has read them."""
        with self._changed:
            num_dropped, clips = self._held_back.pop(camera, 0), self._waiting.get(camera)
            if clips and clips[0].times_s[0] <= after_s:
                self._dropped[camera] = num_dropped
            self._after_s[camera] = after_s
        self._on_put()

    def wait_for_space(self, camera: str, timeout_s: float) -> bool:
        """Blocks until a put would drop nothing; False after `timeout_s`. For sources that can wait."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count(camera) < self._max_clips, timeout_s)

    def count_dropped(self, camera: str, frames: int) -> None:
        """Counts sampled frames that were lost before they reached the queue."""
        with self._changed:
            self._dropped[camera] += frames

    def dropped_frames(self, camera: str) -> int:
        """How many sampled frames of this camera were lost, in the queue or before it."""
        with self._changed:
            return self._dropped[camera]

    def sampled_fps(self, camera: str) -> float | None:
        """Frames per second at which the camera's newest clip was sampled, None if unknown."""
        with self._changed:
            period_s = self._periods_s.get(camera)
            return 1 / period_s if period_s else None

    def discard(self, camera: str, *, are_lost: bool = True) -> None:
        """Drops the camera's waiting clips, and the one that was taken and not claimed yet.

        are_lost: they are counted as dropped; False where the source gives their frames again.
        """
        with self._changed:
            waiting = self._waiting.pop(camera, ())
            num_frames = sum(len(clip.times_s) for clip in waiting) + len(self._taken.pop(camera, ()))
            self._dropped[camera] += num_frames if are_lost else 0
            self._changed.notify_all()

    def remove(self, camera: str) -> None:
        """Removes the camera's clips and counts."""
        with self._changed:
            self._waiting.pop(camera, None)
            self._dropped.pop(camera, None)
            self._after_s.pop(camera, None)
            self._periods_s.pop(camera, None)
            self._taken.pop(camera, None)
            self._held_back.pop(camera, None)
            self._changed.notify_all()

    def _ready(self) -> Iterator[str]:
        return (camera for camera, clips in self._waiting.items() if clips and camera not in self._held_back)

    def _count(self, camera: str) -> int:
        return len(self._waiting.get(camera, ()))
