"""Answers, tests and status of one shard in this process: real streams, a real engine, a store in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from actors.errors import OwnershipUnproven
from actors.fleet import camera_commands
from actors.shard.camera_shard import CameraShard
from cache_store.errors import OwnedByAnother
from cache_store.leases import UNOWNED_EXPIRY
from pipeline.answers import (
    AnswerEvent,
    AnswerFailed,
    Caller,
    Done,
    InvalidQuestion,
    QuestionExpired,
    Started,
    Token,
    UnknownCamera,
)
from pipeline.cameras import (
    CameraState,
    PlaybackSpeed,
    SourceInvalid,
    SourceReason,
    TooManyTests,
)
from tests.actors.shard.shards import (
    QUICK_LEASE,
    STARTED_S,
    Running,
    UnreliableStore,
    assignment,
    has_frames,
    live,
    status,
    watch_whole,
)
from tests.actors.waiting import until
from tests.pipeline import servers
from tests.pipeline.workers import pools


async def test_a_film_is_watched_to_its_end_and_answers(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        events = [event async for event in shard.ask("film", "what is in view")]

    assert isinstance(events[0], Started)
    assert events[0].memory_as_of_s == STARTED_S - 0.5
    assert isinstance(events[-1], Done)
    assert "".join(event.text for event in events if isinstance(event, Token)) == events[-1].answer


async def test_invalid_questions_are_refused_at_once(running: Running, film: str) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("film", film))
        with pytest.raises(InvalidQuestion, match="empty"):
            await anext(shard.ask("film", "  "))
        with pytest.raises(InvalidQuestion, match="59999 characters"):
            await anext(shard.ask("film", "where " * 10_000))
        with pytest.raises(UnknownCamera, match="'flim'"):
            await anext(shard.ask("flim", "what is in view"))


async def test_a_question_whose_time_is_over_costs_the_device_nothing(
    running: Running, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        monkeypatch.setattr(shard._engine._questions, "next_job", None)  # a job would end the test
        for timeout_s in (0.0, 1e-9):
            with pytest.raises(QuestionExpired, match="'film': not answered within"):
                await anext(shard.ask("film", "what is in view", caller=Caller("", timeout_s)))


async def test_many_questions_at_once_are_all_answered(running: Running, film: str) -> None:
    async def ask(shard: CameraShard) -> AnswerEvent:
        return [event async for event in shard.ask("film", "what is in view")][-1]

    async with running() as shard:
        await watch_whole(shard, "film", film)
        last_events = await asyncio.gather(*(ask(shard) for _ in range(12)))

    assert all(isinstance(event, Done) for event in last_events)
    assert len({event.answer for event in last_events}) == 1


async def test_a_closed_stream_cancels_its_question(
    running: Running, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        engine_ask, requests = shard._engine.ask, []

        def ask(*args, **kwargs):
            requests.append(engine_ask(*args, **kwargs))
            return requests[-1]

        monkeypatch.setattr(shard._engine, "ask", ask)
        for _ in range(10):
            events = shard.ask("film", "what is in view")
            await anext(events)
            await events.aclose()

        assert [request.is_cancelled for request in requests] == [True] * 10
        assert isinstance([event async for event in shard.ask("film", "what is in view")][-1], Done)


async def test_a_camera_that_fails_does_not_affect_the_others(running: Running, film: str, tmp_path: Path) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("none", str(tmp_path / "none.mp4")))
        await watch_whole(shard, "film", film)

        async def has_failed() -> bool:
            return (await status(shard, "none")).state is CameraState.FAILED

        await until(has_failed)
        assert "none.mp4" in (await status(shard, "none")).detail


async def test_a_refused_address_is_reported_after_the_first_try(running: Running) -> None:
    """A client that adds it gets the reason; a configured camera is tried again without end."""
    async with running() as shard:
        await shard.add_camera(assignment("cloud", "http://169.254.169.254/latest"))

        async def has_failed() -> bool:
            return (await status(shard, "cloud")).state is CameraState.FAILED

        await until(has_failed)
        camera = await status(shard, "cloud")
        error = camera_commands._open_error(camera, 10.0)

    assert isinstance(error, SourceInvalid)
    assert error.reason is SourceReason.ADDRESS_REFUSED
    assert "169.254.169.254" in str(error)
    assert "; try 2 at " in camera.detail
    assert str(error) == camera.detail.partition("; try 2 at ")[0] + "; the camera was not added"


async def test_people_are_told_the_name_of_a_camera_and_never_its_id(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    one, other = (dataclasses.replace(assignment(name, film), id=f"{name}-0123") for name in ("one", "other"))
    await checkpoints.leases.acquire(other.id, "another shard", expiry=UNOWNED_EXPIRY)
    messages = []
    async with running(lease=QUICK_LEASE) as shard:
        await shard.add_camera(one)
        with pytest.raises(OwnedByAnother) as owned:
            await shard.add_camera(dataclasses.replace(other, expiry=None))
        messages.append(str(owned.value))
        await until(partial(has_frames, shard, "one", 8))
        begun = shard.ask(one.id, "what is in view")
        await anext(begun)
        await shard.drop_camera(one.id)
        with pytest.raises((AnswerFailed, OwnershipUnproven)) as ended:
            async for _ in begun:
                pass
        messages.append(str(ended.value))

    assert ["'other'" in messages[0], "'one'" in messages[1]] == [True, True]
    assert "0123" not in "".join(messages)


async def test_the_number_of_simultaneous_tests_is_limited(running: Running) -> None:
    with servers.silent_server() as port:
        url = f"http://user:canary@127.0.0.1:{port}/live"
        async with running() as shard:
            tests = [asyncio.create_task(shard.test_camera(url)) for _ in range(3)]
            done, _ = await asyncio.wait(tests, return_when=asyncio.FIRST_COMPLETED)
            with pytest.raises(TooManyTests, match="at most 2"):
                await done.pop()
            found = [await test for test in tests[:2]]
            again = await shard.test_camera("sim:gate")

    assert [one.reason for one in found] == [SourceReason.NO_ANSWER] * 2
    assert again.reason is None
    assert "canary" not in repr(found)


async def test_a_url_that_crashes_its_decoder_is_tested_without_harm_to_the_shard(running: Running) -> None:
    before = pools.children()
    with socket.create_server(("127.0.0.1", 0)) as camera:
        async with running() as shard:
            test = asyncio.create_task(shard.test_camera(f"http://127.0.0.1:{camera.getsockname()[1]}/live"))
            with (await asyncio.to_thread(camera.accept))[0]:
                (pid,) = pools.children() - before
                os.kill(pid, signal.SIGSEGV)
                found = await test
            again = await shard.test_camera("sim:gate")

    assert found.reason is SourceReason.DECODER_CRASHED
    assert again.reason is None


async def test_credentials_in_a_url_are_not_shown(running: Running) -> None:
    async with running() as shard:
        await shard.add_camera(assignment("gate", "rtsp://user:canary@127.0.0.1:9/1", PlaybackSpeed.LIVE))

        async def has_tried() -> bool:
            return bool((await status(shard, "gate")).detail)

        await until(has_tried)
        found = await status(shard, "gate")

    assert "127.0.0.1" in found.url
    assert "canary" not in found.url + found.detail


async def test_an_answer_carries_the_epoch_of_its_owner(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        started = await anext(shard.ask("film", "what is in view"))
        owner = await checkpoints.leases.owner("film")

        assert owner is not None
        assert isinstance(started, Started)
        assert started.epoch == (await status(shard, "film")).epoch == owner.epoch


async def test_an_answer_that_was_begun_is_fenced_when_the_lease_expires(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    """The engine may have finished the answer before. The stale owner must not pass it on."""
    async with running(lease=QUICK_LEASE) as shard:
        await watch_whole(shard, "film", film)
        begun = shard.ask("film", "what is in view")
        assert isinstance(await anext(begun), Started)
        checkpoints.leases.is_down = True

        async def is_refused() -> bool:
            try:
                await anext(shard.ask("film", "what is in view"))
            except OwnershipUnproven:
                return True
            return False

        await until(is_refused)
        with pytest.raises(OwnershipUnproven):
            await anext(begun)


async def test_a_shard_that_cannot_renew_its_lease_refuses_questions_and_still_watches(
    running: Running, checkpoints: UnreliableStore
) -> None:
    async with running(lease=QUICK_LEASE) as shard:
        await shard.add_camera(live())
        await until(partial(has_frames, shard, "street", 1))
        checkpoints.leases.is_down = True

        async def is_refused() -> bool:
            try:
                await anext(shard.ask("street", "what is in view"))
            except OwnershipUnproven:
                return True
            return False

        await until(is_refused)
        frames_seen = (await status(shard, "street")).memory.frames_seen
        await until(partial(has_frames, shard, "street", frames_seen + 2))
        checkpoints.leases.is_down = False

        async def is_answered() -> bool:
            return not await is_refused()

        await until(is_answered)


async def test_a_shard_with_a_revoked_lease_refuses_questions_and_reports_it(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    retired: list[bool] = []
    async with running(lease=QUICK_LEASE, on_retired=lambda: retired.append(True)) as shard:
        await watch_whole(shard, "film", film)
        await checkpoints.leases.retire((await shard.status()).incarnation)
        await until(lambda: bool(retired))

        with pytest.raises(OwnershipUnproven):
            await anext(shard.ask("film", "what is in view"))
        with pytest.raises(OwnershipUnproven, match="its shard is ending"):
            await watch_whole(shard, "another", film)
