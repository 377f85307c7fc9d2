"""Answers say whether their camera is live; a camera that has never given a frame refuses, with the reason."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from pathlib import Path

import pytest
import structlog

from actors.config.schema import HermesConfig
from actors.shard import shard_device
from actors.shard.answer_context import AnswerContext
from actors.shard.camera_shard import CameraShard
from actors.shard.camera_stream import CameraStream
from cache_store.leases import InMemoryLeases
from cache_store.store import InMemoryCheckpointStore
from models import registry
from pipeline.answers import Done, NoFrames, NoFramesYet, PictureWarning, Started, Token, WarningCode
from pipeline.cameras import CameraState, PlaybackSpeed, SourceReason
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_builder import square
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig
from tests.actors.scripted import DONE, STARTED
from tests.actors.shard.shards import STARTED_S, Running, assignment, has_frames, live, status, watch_whole
from tests.actors.waiting import until
from tests.pipeline.playing import QUICK

LIMITED = WarningCode.MODEL_LIMITED


async def test_a_camera_that_failed_before_its_first_frame_refuses(running: Running, tmp_path: Path) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("none", str(tmp_path / "none.mp4")))

        async def has_failed() -> bool:
            return (await status(shard, "none")).state is CameraState.FAILED

        await until(has_failed)
        with pytest.raises(
            NoFrames, match=r"camera 'none' has given no frame: state failed since \d{4}-.* UTC \(.*none"
        ):
            await anext(shard.ask("none", "what is in view"))


async def test_a_camera_that_is_still_tried_refuses_and_may_be_asked_again(running: Running) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("gate", "rtsp://127.0.0.1:9/1", PlaybackSpeed.LIVE))

        async def is_retried() -> bool:
            return (await status(shard, "gate")).state is CameraState.BACKING_OFF

        await until(is_retried)
        with pytest.raises(NoFramesYet, match="backing off since"):
            await anext(shard.ask("gate", "what is in view"))


@pytest.mark.parametrize(
    ("reason", "needs_person"),
    [
        (SourceReason.UNAUTHORIZED, True),
        (SourceReason.FORBIDDEN, True),
        (SourceReason.REDIRECTED, True),
        (SourceReason.TLS, True),
        (SourceReason.ADDRESS_REFUSED, True),
        (SourceReason.FILE_REFUSED, True),
        (SourceReason.NO_ANSWER, False),
        (SourceReason.CONNECTION_REFUSED, False),
        (SourceReason.NOT_FOUND, False),
        (None, False),
    ],
)
async def test_only_what_passes_by_itself_is_worth_asking_again(
    reason: SourceReason | None, needs_person: bool
) -> None:
    """A login that is refused stays refused until a person corrects it."""
    stream = stream_of("gate")
    stream.report(CameraState.BACKING_OFF, "why", reason, None, STARTED_S)

    with pytest.raises(NoFrames, match=r"backing off since 2023-11-14 22:13:20 UTC \(why\)") as refused:
        await AnswerContext(stream, 7).await_frames(lambda: None)

    assert isinstance(refused.value, NoFramesYet) is not needs_person
    assert ("try again" in str(refused.value)) is not needs_person
    assert ("corrected" in str(refused.value)) is needs_person


async def test_a_question_that_waits_for_frames_hears_of_the_stream_that_an_update_opened() -> None:
    """It said that the camera connects, of the stream that was ended."""
    streams = [stream_of("gate")]
    context = AnswerContext(streams[0], 7, lambda: streams[-1])

    def newest_s() -> float | None:
        if len(streams) > 1:
            return STARTED_S
        streams.append(stream_of("gate"))
        streams[-1].report(CameraState.LIVE, "", None, None, STARTED_S)
        return None

    await context.await_frames(newest_s)
    started = context.identified(STARTED)

    assert (started.camera_state, started.state_since_s, started.warnings) == (CameraState.LIVE, STARTED_S, ())


async def test_a_question_whose_camera_gives_nothing_after_an_update_is_refused_with_the_reason_of_its_new_stream() -> (
    None
):
    streams = [stream_of("gate")]

    def newest_s() -> float | None:
        streams.append(stream_of("gate"))
        streams[-1].report(CameraState.FAILED, "no such file", None, None, STARTED_S)

    with pytest.raises(NoFrames, match=r"state failed since .* \(no such file\)") as refused:
        await AnswerContext(streams[0], 7, lambda: streams[-1]).await_frames(newest_s)
    assert not isinstance(refused.value, NoFramesYet)


def test_an_answer_of_a_camera_that_has_left_ends_with_its_last_stream() -> None:
    """What was begun goes on behind a copy of the memory."""
    present = {"gate": stream_of("gate")}
    context = AnswerContext(present["gate"], 7, lambda: present.get("gate"))
    present["gate"] = stream_of("gate")
    present["gate"].report(CameraState.LIVE, "", None, None, STARTED_S)
    context.identified(STARTED)
    del present["gate"]

    done = context.identified(DONE)

    assert (done.camera_state, done.state_since_s, done.warnings) == (CameraState.LIVE, STARTED_S, ())


async def test_an_update_while_a_question_waits_for_frames_reaches_it(running: Running, film: str) -> None:
    """Of a camera that accepts connections and says nothing; then the operator corrects its address."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with running() as shard:
            await shard.add_camera(assignment("film", address))
            answer = asyncio.ensure_future(anext(shard.ask("film", "what is in view")))
            await asyncio.sleep(0)  # it waits for frames
            await shard.update_camera(assignment("film", film))
            started = await answer

    assert isinstance(started, Started)
    assert started.camera_state in (CameraState.LIVE, CameraState.ENDED)


async def test_a_recording_that_has_ended_answers_with_a_warning(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        events = [event async for event in shard.ask("film", "what is in view")]
        shown = await status(shard, "film")

    started, done = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(done, Done)
    assert [warning.code for warning in started.warnings] == [WarningCode.NOT_LIVE]
    assert "the answer is about the time up to 2023-11-14 22:13:19 UTC" in started.warnings[0].message
    for event in (started, done):
        assert (event.camera_id, event.camera_state) == ("film", CameraState.ENDED)
        assert event.state_since_s == shown.state_since_s
    assert done.warnings == ()


async def test_a_camera_that_was_just_added_answers_without_a_warning(running: Running) -> None:
    async with running() as shard:
        await shard.add_camera(live())
        # Its first frames are on their way: the question waits for them.
        events = [event async for event in shard.ask("street", "what is in view")]

    assert {event.camera_state for event in (events[0], events[-1])} == {CameraState.LIVE}
    assert events[0].warnings + events[-1].warnings == ()


def test_a_camera_that_stalls_during_an_answer_is_warned_of_at_its_end() -> None:
    stream = stream_of("gate")
    stream.report(CameraState.LIVE, "", None, None, STARTED_S)
    context = AnswerContext(stream, 7)
    started = context.identified(STARTED)
    stream.report(CameraState.STALLED, "no frame for 10 s", SourceReason.NO_ANSWER, None, STARTED_S + 60)

    assert context.identified(Token("red", 0)) == Token("red", 0)
    done = context.identified(DONE)

    assert (started.epoch, started.camera_state, started.state_since_s) == (7, CameraState.LIVE, STARTED_S)
    assert (done.camera_state, done.state_since_s) == (CameraState.STALLED, STARTED_S + 60)
    assert started.warnings == ()
    assert [warning.message for warning in done.warnings] == [
        "camera 'gate' is not live: state stalled since 2023-11-14 22:14:20 UTC (no frame for 10 s); "
        "the answer is about the time up to 1970-01-01 00:16:40 UTC"
    ]


def test_a_camera_whose_picture_shows_nothing_is_warned_of_once() -> None:
    stream = stream_of("gate")
    stream.report(CameraState.LIVE, "", None, PictureNote.PICTURE_BLACK, STARTED_S)
    context = AnswerContext(stream, 7)

    started, done = context.identified(STARTED), context.identified(DONE)

    text = "camera 'gate': its picture is black; the answer is about what it showed before"
    assert started.picture == PictureWarning(PictureNote.PICTURE_BLACK, text)
    assert (done.picture, started.warnings, done.warnings) == (None, (), ())


@pytest.mark.parametrize("note", PictureNote)
def test_a_picture_that_changes_during_an_answer_is_warned_of_at_its_end(note: PictureNote) -> None:
    stream = stream_of("gate")
    stream.report(CameraState.LIVE, "", None, None, STARTED_S)
    context = AnswerContext(stream, 7)
    started = context.identified(STARTED)
    stream.report(CameraState.LIVE, "", None, note, STARTED_S + 60)
    done = context.identified(DONE)

    assert started.picture is None
    assert done.picture is not None
    assert done.picture.note is note
    assert done.picture.message.startswith("camera 'gate': it")


def test_a_new_detail_is_no_new_state() -> None:
    stream = stream_of("gate")
    for attempt in range(3):
        stream.report(CameraState.BACKING_OFF, f"try {attempt}", SourceReason.NO_ANSWER, None, STARTED_S + attempt)

    assert (stream.detail, stream.state_since_s) == ("try 2", STARTED_S)


def stream_of(name: str) -> CameraStream:
    """A stream whose feed was never started."""
    config = IngestConfig()
    camera = assignment(name, "sim:street")
    feed = CameraFeed(camera.spec, config, square(64), ClipQueue(1), on_state=lambda *_: None, camera_id=camera.id)
    return CameraStream(camera, feed, 0.0)


async def test_a_model_of_drawn_streets_says_so_wherever_a_real_camera_is_met(film: str) -> None:
    """In the log when the camera is added, in its state, and with each answer; not where drawn streets are shown."""
    settings = HermesConfig(ingest=QUICK).for_shards()
    leases = InMemoryLeases()
    shard = CameraShard(
        shard_device.of_model(registry.load_model("tiny", "cpu"), settings),
        settings,
        InMemoryCheckpointStore(leases),
        leases,
    )
    try:
        with structlog.testing.capture_logs() as logged:
            await watch_whole(shard, "film", film)
            await watch_whole(shard, "drawn", film, labels={"shows": "drawn streets"})
            await shard.add_camera(assignment("scene", f"sim:nope?seed=3&start={int(time.time())}", PlaybackSpeed.LIVE))
            await until(functools.partial(has_frames, shard, "scene", 1))
        names = ("film", "scene", "drawn")
        events = [[event async for event in shard.ask(name, "what is in view")] for name in names]
        details = [(await status(shard, name)).detail for name in names]
    finally:
        await shard.close()

    text = "model 'tiny' knows drawn streets only: about real footage its answers mean nothing (docs/models.md)"
    limits = [[one.message for one in answer[0].warnings if one.code is LIMITED] for answer in events]
    assert limits == [[text], [], []]
    assert details == [text, "a drawn street, seed 3", ""]
    assert [event["camera"] for event in logged if event["event"] == "model_limited"] == ["film"]
