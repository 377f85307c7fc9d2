"""The engine of one device: ingest, commands, snapshots and restores, on its own thread."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
import torch

from cache_store import checkpoint_codec, token_ids
from cache_store.checkpoint import Checkpoint
from cache_store.errors import CheckpointCorrupt
from cache_store.gap import Gap
from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerEvent, QuestionError, UnknownCamera
from pipeline.cameras import CameraExists, TooManyCameras
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip
from tests.pipeline.device.engine_driver import (
    CONFIG,
    MEMORY,
    TIMEOUT_S,
    EventRecorder,
    ask,
    clip,
    ingest,
    paused,
    settle,
)


def test_an_unknown_camera_is_refused_at_once(engine: Engine) -> None:
    with pytest.raises(UnknownCamera, match="'attic'"):
        ask(engine, "attic", "what is in view")
    with pytest.raises(UnknownCamera):
        engine.remove_camera("attic")


def test_a_cancelled_snapshot_disturbs_no_other_work(engine: Engine) -> None:
    engine.add_camera("gate")
    for _ in range(20):
        engine.snapshot("gate").cancel()

    assert engine.snapshot("gate").result(timeout=20).facts.frames_seen == 0
    assert engine.is_running


def test_the_whole_copy_for_the_next_owner_is_taken_before_any_other_work(engine: Engine) -> None:
    """Questions to the camera wait for it, and those of its neighbours used to come first, for seconds."""
    engine.add_camera("lobby")
    engine.add_camera("gate")
    ingest(engine, "gate", 1)
    order = []
    recorder = EventRecorder()

    def on_event(event: AnswerEvent | QuestionError) -> None:
        order.append("answer")
        recorder.on_event(event)

    with paused(engine, "gate"):
        engine.ask("gate", "what is in view", on_event)
        engine.snapshot("lobby", is_whole=True).add_done_callback(lambda _: order.append("copy"))

    recorder.done()
    assert order[0] == "copy"


def test_a_removed_camera_frees_its_slot(engine: Engine) -> None:
    engine.add_camera("lobby")
    engine.add_camera("gate")
    with pytest.raises(TooManyCameras, match="all 2 slots"):
        engine.add_camera("attic")
    with pytest.raises(CameraExists):
        engine.add_camera("gate")
    engine.remove_camera("lobby")
    engine.add_camera("attic")
    assert engine.status("attic").frames_seen == 0


def test_the_waiting_clips_of_a_removed_camera_are_dropped(engine: Engine) -> None:
    """A camera that is added later under the same name would read them."""
    engine.add_camera("lobby")
    engine.add_camera("gate")
    with paused(engine, "gate"):
        engine.clips.put(clip("lobby", 1.0))
        removing = threading.Thread(target=engine.remove_camera, args=("lobby",))
        removing.start()
    removing.join(TIMEOUT_S)

    assert not engine.clips.has_clips()


def test_work_that_waits_behind_a_clip_of_no_camera_is_done_without_a_pause(model: LlavaOnevision) -> None:
    """The device sleeps only if nothing waits. Its thread is not started here, so that nothing else asks for a job."""
    engine = Engine(model, MEMORY, CONFIG)
    engine.clips.put(clip("removed", 1.0))
    engine.snapshot("lobby")

    job = engine.jobs.next_job()

    assert job is not None
    assert job.what == "camera 'lobby': copying it"
    assert engine.jobs.next_job() is None


def test_a_memory_stays_bounded_and_thumbnails_live_as_long_as_their_tokens(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 30)
    status = engine.status("lobby")
    layers = 6
    assert status.frames_seen == 120
    assert status.compactions >= 10
    assert status.recent_window_tokens == 4 * 16 * layers
    assert status.summary_tier_tokens == (128 - 4 * 16) * layers
    assert status.thumbnails < 120
    saved = engine.snapshot("lobby").result(timeout=20)
    cached_frames = {
        frame for layer in saved.layers for frame in token_ids.frames_of(layer.token_ids).tolist() if frame >= 0
    }
    assert cached_frames == set(saved.thumbnails)


def test_a_time_without_frames_becomes_a_gap(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 1, first_s=1_000.0)
    ingest(engine, "lobby", 1, first_s=1_060.0)
    assert engine.status("lobby").gaps == (Gap(1_001.5, 1_060.0, "no frames"),)


def test_a_camera_comes_back_from_its_checkpoint_on_another_device(engine: Engine, model: LlavaOnevision) -> None:
    engine.add_camera("lobby", started_s=900.0)
    ingest(engine, "lobby", 20)
    saved = engine.snapshot("lobby").result(timeout=20)
    saved = checkpoint_codec.decode([b"".join(checkpoint_codec.encode(saved))], saved.facts, saved.thumbnails)
    other = Engine(model, MEMORY, CONFIG)
    other.start()
    other.add_camera("lobby", saved)
    status = other.status("lobby")
    assert status.frames_seen == 80
    assert status.recent_window_tokens == 0
    assert status.summary_tier_tokens == engine.status("lobby").summary_tier_tokens
    ingest(other, "lobby", 1, first_s=1_100.0)
    assert other.status("lobby").gaps[-1].reason == "restored from a checkpoint"
    assert saved.facts.started_s == 900.0
    ask(other, "lobby", "what came first").done()
    other.close()


def test_a_checkpoint_that_does_not_fit_leaves_no_camera_behind(engine: Engine) -> None:
    engine.add_camera("lobby")
    ingest(engine, "lobby", 10)
    saved = engine.snapshot("lobby").result(timeout=20)
    wrong = Checkpoint(saved.facts, saved.layers[:3], {})
    with pytest.raises(CheckpointCorrupt, match="3 layers"):
        engine.add_camera("gate", wrong)
    with pytest.raises(UnknownCamera):
        engine.status("gate")
    engine.add_camera("gate")


def test_a_clip_that_fails_on_the_device_costs_its_camera_only(engine: Engine) -> None:
    engine.add_camera("lobby")
    engine.add_camera("gate")
    broken = Clip(
        "lobby",
        torch.zeros(4, 3, 3, 3, dtype=torch.uint8),
        (1.0, 2.0, 3.0, 4.0),
        tuple(torch.zeros(4, 3, 3, 3, dtype=torch.uint8)),
        4.0,
    )
    engine.clips.put(broken)
    ingest(engine, "gate", 2)
    ingest(engine, "lobby", 2)
    assert engine.status("lobby").frames_seen == 8


def test_questions_have_their_turn_between_the_steps_of_a_long_clip(model: LlavaOnevision) -> None:
    config = DeviceConfig(max_cameras=1, max_running_questions=1, max_answer_tokens=6)
    engine = Engine(model, MEMORY, config)
    engine.start()
    engine.add_camera("lobby")
    frames_seen: list[int] = []
    recorder = EventRecorder()

    def on_event(event: AnswerEvent | QuestionError) -> None:
        frames_seen.append(engine.status("lobby").frames_seen)
        recorder.on_event(event)

    with paused(engine, "lobby"):
        engine.clips.put(clip("lobby", 1_000.0, num_frames=64))
        engine.ask("lobby", "what is in view", on_event)
    recorder.wait()
    settle(engine)

    assert 0 < frames_seen[-1] < 64
    assert all(later - before <= config.max_frames_per_step for before, later in pairwise(frames_seen))
    assert engine.status("lobby").frames_seen == 64
    engine.close()


def test_how_many_frames_a_question_can_wait_for_is_measured_by_the_work_itself(engine: Engine) -> None:
    engine.add_camera("lobby")
    assert engine.jobs.quick_tokens is None

    ingest(engine, "lobby", 2)
    ask(engine, "lobby", "what is in view").done()

    assert engine.jobs.quick_tokens is not None
