"""What leaves a feed: clips with Unix times, each change of its state once, and nothing after a stop."""

from __future__ import annotations

import threading

import numpy as np
import structlog

from pipeline.cameras import CameraState, SourceReason
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed_output import FeedOutput
from pipeline.sources.frame_times import FrameTimes
from tests.pipeline.sources.machine_clocks import Machine

HOUR_S = 3_600.0


class Feed:
    """A feed's output, its queue and what it has reported. max_clips: of the queue."""

    def __init__(self, max_clips: int = 1) -> None:
        self.machine = Machine()
        self.clips = ClipQueue(max_clips)
        self.states: list[tuple[CameraState, str]] = []
        times = FrameTimes(self.machine.clock, None)
        self.output = FeedOutput("lobby", "id-1", self.clips, times, self._on_state)

    def clip(self) -> Clip:
        """Of a frame that comes now."""
        self.machine.boot_s += 1
        now_s, pixels = self.machine.clock(), np.full((1, 20, 32, 3), 128, np.uint8)
        return Clip("lobby", pixels, (now_s,), (pixels[0],), now_s)

    def _on_state(self, state: CameraState, detail: str, _: SourceReason | None, __: PictureNote | None) -> None:
        self.states.append((state, detail))


def test_a_clip_leaves_under_the_camera_s_id_with_unix_times() -> None:
    feed = Feed()
    feed.machine.set_clock(HOUR_S)

    assert feed.output.put(feed.clip(), can_wait=False) == 0

    clip = feed.clips.take()
    assert clip is not None
    assert (clip.camera, clip.times_s, clip.received_s) == ("id-1", (feed.machine.wall_s,), feed.machine.wall_s)


def test_putting_a_clip_returns_how_many_frames_are_lost_for_it() -> None:
    feed = Feed()

    assert [feed.output.put(feed.clip(), can_wait=False) for _ in range(2)] == [0, 1]


def test_nothing_passes_after_a_stop() -> None:
    feed = Feed()
    feed.output.stop()

    feed.output.put(feed.clip(), can_wait=False)
    feed.output.count_dropped(3)
    feed.output.report(CameraState.LIVE)

    assert not feed.clips.has_clips()
    assert feed.clips.dropped_frames("id-1") == 0
    assert feed.states == []
    assert feed.output.wait(60)


def test_a_stop_ends_the_wait_for_space() -> None:
    feed = Feed()
    feed.output.put(feed.clip(), can_wait=True)
    waiting = threading.Thread(target=feed.output.put, args=(feed.clip(),), kwargs={"can_wait": True}, daemon=True)
    waiting.start()
    feed.output.stop()

    waiting.join(30)
    assert not waiting.is_alive()
    assert feed.clips.dropped_frames("id-1") == 0


def test_a_state_is_reported_when_it_changes_and_logged_unless_only_the_next_step_does() -> None:
    feed = Feed()
    with structlog.testing.capture_logs() as logged:
        for attempt in (2, 2, 3):
            feed.output.report(CameraState.BACKING_OFF, "refused", next_step=f"try {attempt} in 1 s")
        feed.output.report(CameraState.LIVE)

    assert feed.states == [
        (CameraState.BACKING_OFF, "refused; try 2 in 1 s"),
        (CameraState.BACKING_OFF, "refused; try 3 in 1 s"),
        (CameraState.LIVE, ""),
    ]
    lines = [(line["log_level"], line["state"], line["detail"]) for line in logged]
    assert lines == [("warning", CameraState.BACKING_OFF, "refused"), ("info", CameraState.LIVE, "")]
