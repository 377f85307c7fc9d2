"""A live HLS playlist: its segments come whole, with nothing in between."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.cameras import CameraState
from pipeline.sources import hls_variants
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from tests.pipeline import field_cameras
from tests.pipeline.playing import QUICK, running_feed

# Shorter than a segment of one second is, and frames often enough that a segment without one would be noticed.
IMPATIENT = replace(QUICK, stall_after_s=0.5, sample_fps=10)


def test_a_stream_is_live_while_its_segments_are_further_apart_than_other_streams_may_be_silent(
    tmp_path: Path,
) -> None:
    with field_cameras.running(tmp_path) as urls, running_feed(urls["hls"], config=IMPATIENT) as feed:
        began_s = feed.take().times_s[0]
        while feed.take().times_s[-1] < began_s + 5:
            pass

    assert {state for state, *_ in feed.states} == {CameraState.CONNECTING, CameraState.LIVE}


class Clock:
    """The system's clock, set forward by `later_s`."""

    later_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.later_s

    def correction_s(self) -> float:
        return 0.0


class SlowDevice(ClipQueue):
    """Takes a clip whenever a feed finds the queue full; each of the first ones takes three seconds by `clock`.

    is_over: it has taken enough, or a clip was lost.
    """

    def __init__(self) -> None:
        super().__init__(2)
        self.times_s: list[float] = []
        self.is_over = threading.Event()
        self.clock = Clock()

    def wait_for_space(self, camera: str, timeout_s: float) -> bool:
        if super().wait_for_space(camera, 0):
            return True
        clip = self.take()
        assert clip is not None
        self.times_s += clip.times_s
        self.clock.later_s = min(12.0, self.clock.later_s + 3)
        if self.times_s[-1] > self.times_s[0] + 2:
            self.is_over.set()
        return False

    def put(self, clip: Clip) -> int:
        if lost := super().put(clip):
            self.is_over.set()
        return lost


def test_a_segment_that_comes_at_once_waits_for_the_device_which_lowers_no_rate_and_is_no_stall(tmp_path: Path) -> None:
    clips, config = SlowDevice(), replace(IMPATIENT, frames_per_clip=1)
    with (
        field_cameras.running(tmp_path) as urls,
        running_feed(urls["hls"], config=config, clips=clips, clock=clips.clock) as feed,
    ):
        assert clips.is_over.wait(30)

    assert clips.dropped_frames("lobby") == 0
    assert max(later - time_s for time_s, later in pairwise(clips.times_s)) < 0.25
    assert [state for state, _ in feed.states] == [CameraState.CONNECTING, CameraState.LIVE]


@pytest.mark.parametrize(
    ("playlist", "silence_s"),
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:10\n", 15),
        ("#EXTM3U\r\n#EXT-X-TARGETDURATION: 6\r\n", 9),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:99999\n", 90),
        ("#EXTM3U\n", 0),
        ("a #EXT-X-TARGETDURATION:10", 0),
    ],
)
def test_how_long_a_playlist_may_give_nothing(playlist: str, silence_s: float) -> None:
    assert hls_variants.silence_s(playlist) == silence_s
