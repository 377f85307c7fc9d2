"""Hands clips from camera threads to the device thread. Each camera has a bounded queue that drops its oldest clip."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Protocol

from cache_store.gap import GapReason
from pipeline.sources.camera_clips import CameraClips
from pipeline.sources.clips import Clip
from pipeline.sources.frame_times import RisingTimes

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
        self._cameras: OrderedDict[str, CameraClips] = OrderedDict()  # in the order of their turns
        self._changed = threading.Condition()

    def put(self, clip: Clip) -> int:
        """Queues a clip. If the camera has max_clips already, its oldest clip is dropped and counted.

        How many frames were dropped; 0 while clips are held back, because then nobody is too slow.
        """
        with self._changed:
            clips, lost = self._added(clip.camera), 0
            if (dated := clips.dated(clip)) is None:
                return 0
            clips.period_s, clips.newest_s = dated.period_s, dated.times_s[-1]
            clips.waiting.append(dated)
            while len(clips.waiting) > self._max_clips:
                lost += len(clips.waiting.popleft().times_s)
                clips.waiting[0] = clips.waiting[0].after_loss(DROPPED)
            clips.dropped += lost
            lost = 0 if clips.is_held_back else lost
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
                self._cameras.move_to_end(camera)
                self._changed.notify_all()
                clips = self._cameras[camera]
                clip = clips.waiting.popleft().after(clips.after_s)
                if clip is None:
                    continue
                if max_frames is not None and len(clip.times_s) > max_frames:
                    clips.waiting.appendleft(clip.part(slice(max_frames, None)))
                    clip = clip.part(slice(max_frames))
                steps[camera] = clip
                clips.taken_s = clip.times_s
        return list(steps.values())

    def claim(self, clip: Clip) -> bool:
        """Whether a clip that was taken is still wanted: it was not discarded since. After that nothing discards it."""
        with self._changed:
            clips = self._of(clip.camera)
            if clips.taken_s is clip.times_s:
                clips.taken_s, clips.claimed_s = (), clip.times_s
            return clips.claimed_s is clip.times_s

    def take_back(self, clip: Clip) -> bool:
        """Puts a clip that was taken and not claimed back in front of its camera's if those are held back now.

        Whether it was put back. A full queue has one clip too many then, until the next put: a source that can wait
        puts none before there is space, so nothing of a recording is lost.
        """
        with self._changed:
            clips = self._of(clip.camera)
            if not clips.is_held_back or clips.taken_s is not clip.times_s:
                return False
            clips.taken_s = ()
            clips.waiting.appendleft(clip)
            return True

    def next_steps(self, max_frames: int) -> list[int]:
        """How many frames each of the next cameras of `take_steps` has for it, at most."""
        with self._changed:
            return [min(max_frames, len(self._cameras[camera].waiting[0].times_s)) for camera in self._ready()]

    def has_clips(self) -> bool:
        """Whether `take` may return a clip."""
        with self._changed:
            return next(self._ready(), None) is not None

    def hold_back(self, camera: str) -> None:
        """Stops `take` from returning the camera's clips until `release`; a full queue still drops its oldest."""
        with self._changed:
            clips = self._added(camera)
            clips.dropped_before = clips.dropped

    def held_back_since_s(self, camera: str) -> float | None:
        """The time of the oldest frame that is held back, None if none is."""
        with self._changed:
            clips = self._of(camera)
            return clips.waiting[0].times_s[0] if clips.waiting and clips.is_held_back else None

    def release(self, camera: str, after_s: float = -math.inf, *, behind_s: float | None = None) -> None:
        """Ends `hold_back`. Frames up to `after_s`, also of later clips, are left out: another shard has read them.

        So are those that an earlier `release` leaves out. behind_s: the other frames get times that rise from this one
        on, see RisingTimes, because the clock of the other shard's machine differs.
        """
        with self._changed:
            clips = self._added(camera)
            clips.after_s = max(clips.after_s, after_s)
            if clips.dropped_before is not None and clips.waiting and clips.waiting[0].times_s[0] <= clips.after_s:
                clips.dropped = clips.dropped_before
            clips.dropped_before = None
            if behind_s is not None:
                clips.times = RisingTimes(behind_s)
                clips.waiting = deque(filter(None, map(clips.dated, clips.waiting)))
        self._on_put()

    def wait_for_space(self, camera: str, timeout_s: float) -> bool:
        """Blocks until a put would drop nothing; False after `timeout_s`. For sources that can wait."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._of(camera).waiting) < self._max_clips, timeout_s)

    def count_dropped(self, camera: str, frames: int) -> None:
        """Counts sampled frames that were lost before they reached the queue."""
        with self._changed:
            self._added(camera).dropped += frames

    def dropped_frames(self, camera: str) -> int:
        """How many sampled frames of this camera were lost, in the queue or before it.

        Whether those that are dropped while clips are held back are lost is known at `release`.
        """
        with self._changed:
            clips = self._of(camera)
            return clips.dropped if clips.dropped_before is None else clips.dropped_before

    def sampled_fps(self, camera: str) -> float | None:
        """Frames per second at which the camera's newest clip was sampled, None if unknown."""
        with self._changed:
            period_s = self._of(camera).period_s
            return 1 / period_s if period_s else None

    def times_note(self, camera: str) -> str:
        """What the operator should know of the times that the camera's frames get here; empty if they are right."""
        with self._changed:
            times = self._of(camera).times
            return "" if times is None else times.note

    def newest_s(self, camera: str) -> float | None:
        """The time of the newest frame that was put, None before it; without frames that are given again."""
        with self._changed:
            return self._of(camera).newest_s

    def discard(self, camera: str, *, are_lost: bool = True) -> None:
        """Drops the camera's waiting clips, and the one that was taken and not claimed yet.

        are_lost: they are counted as dropped; False where the source gives their frames again.
        """
        with self._changed:
            clips = self._of(camera)
            if are_lost:
                clips.dropped += sum(len(clip.times_s) for clip in clips.waiting) + len(clips.taken_s)
            else:
                clips.newest_s = clips.claimed_s[-1] if clips.claimed_s else None
            clips.waiting.clear()
            clips.taken_s = ()
            self._changed.notify_all()

    def erase(self, camera: str) -> None:
        """Removes the camera's clips and counts. Where its source goes on stays as if all of them had been claimed."""
        with self._changed:
            if (clips := self._cameras.get(camera)) is not None:
                self._cameras[camera] = CameraClips(
                    claimed_s=() if clips.newest_s is None else (clips.newest_s,),
                    dropped_before=0 if clips.is_held_back else None,
                    after_s=clips.after_s,
                    times=clips.times,
                    newest_s=clips.newest_s,
                    period_s=clips.period_s,
                )
            self._changed.notify_all()

    def remove(self, camera: str) -> None:
        """Removes all of the camera: its clips, its counts, and where its source goes on."""
        with self._changed:
            self._cameras.pop(camera, None)
            self._changed.notify_all()

    def _ready(self) -> Iterator[str]:
        return (camera for camera, clips in self._cameras.items() if clips.waiting and not clips.is_held_back)

    def _of(self, camera: str) -> CameraClips:
        """Of a camera that the queue does not know, or does not any more, nothing is kept."""
        return self._cameras.get(camera) or CameraClips()

    def _added(self, camera: str) -> CameraClips:
        return self._cameras.setdefault(camera, CameraClips())
