"""From a camera to an answer on a machine whose clock is set: the memory goes on, in order, and its gaps say why."""

from __future__ import annotations

import time
from dataclasses import replace

from cache_store.gap import GapReason
from pipeline.answers import Started
from pipeline.cameras import PlaybackSpeed
from pipeline.device.engine import Engine
from pipeline.sources.frame_clock import SteadyClock
from tests.pipeline.device.engine_driver import TIMEOUT_S, EventRecorder, settle, whole
from tests.pipeline.playing import QUICK, running_feed

HOUR_S = 3_600.0
CONFIG = replace(QUICK, sample_fps=8, frames_per_clip=2, max_clip_wait_s=0.3)


def test_a_camera_that_is_asked_before_and_after_the_clock_was_set(engine: Engine) -> None:
    offset_s = [0.0]
    clock = SteadyClock(wall=lambda: time.time() + offset_s[0])
    engine.add_camera("lobby", started_s=time.time())
    with running_feed("sim:street", PlaybackSpeed.LIVE, CONFIG, engine.clips, clock=clock):
        _until_more_frames(engine)
        first_s = _as_of_s(engine)
        offset_s[0] = -HOUR_S
        _until_more_frames(engine)
        back_s = _as_of_s(engine)
        offset_s[0] = HOUR_S
        _until_more_frames(engine)
        forward_s = _as_of_s(engine)
    settle(engine)

    assert 0 < back_s - first_s < 60
    assert HOUR_S - 60 < forward_s - back_s < HOUR_S + 60
    (gap,) = [gap for gap in engine.status("lobby").gaps if gap.reason == GapReason.CLOCK_SET]
    assert HOUR_S - 60 < gap.end_s - gap.start_s < HOUR_S + 60
    times_s = whole(engine, "lobby").layers[0].times_s[1:].tolist()
    assert times_s == sorted(times_s)


def _until_more_frames(engine: Engine) -> None:
    """Until the memory has frames that were given after this was called."""
    last, end_s = engine.status("lobby").frames_seen + 12, time.monotonic() + TIMEOUT_S
    while engine.status("lobby").frames_seen < last:
        assert time.monotonic() < end_s, engine.status("lobby")
        settle(engine)


def _as_of_s(engine: Engine) -> float:
    recorder = EventRecorder()
    engine.ask("lobby", "what is in view", recorder.on_event)
    recorder.done()
    (started,) = [event for event in recorder.events if isinstance(event, Started)]
    return started.memory_as_of_s
