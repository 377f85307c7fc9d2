"""What Prometheus reads of a server, over its real ports: calls, answers and the fleet, with bounded labels."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import aclosing

import grpc
import grpc.aio
import pytest

from actors.fleet.fleet import Fleet
from actors.metrics import definitions
from actors.shard.shard_counts import FrameCounts, Histogram, QuestionCounts, ShardCounts
from pipeline.answers import NoFrames
from pipeline.cameras import CameraSpec, CameraState
from pipeline.picture_note import PictureNote
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc
from tests.actors.metrics.scraping import measured, samples, scrape, value
from tests.actors.scripted import DONE, STARTED, ScriptedShard, scripted_fleet

ASK = "hermes.v1.QueryService/Ask"


async def fleet_of(*shards: ScriptedShard, is_leader: bool = True) -> Fleet:
    fleet = scripted_fleet(*shards, is_leader=lambda: is_leader)
    cameras = [CameraSpec(name=name, url="rtsp://user:canary@camera.example/1") for name in ("gate", "yard")]
    fleet.configure(cameras)
    await fleet.reconcile()
    await fleet.list_cameras()
    return fleet


async def ask(address: str, camera: str = "gate", **options: object) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = pb_grpc.QueryServiceStub(channel).Ask(pb.AskRequest(camera=camera, question="what"), **options)
        assert [event async for event in call]


async def test_an_answer_is_counted_and_timed() -> None:
    async with measured(await fleet_of(ScriptedShard())) as (address, metrics):
        before = await scrape(metrics)
        for _ in range(2):
            await ask(address)
        text = await scrape(metrics)

    assert value(before, "hermes_time_to_first_token_seconds_count") == 0
    assert value(text, "hermes_time_to_first_token_seconds_count") == 2
    assert value(text, "hermes_time_to_first_token_seconds_bucket", le="+Inf") == 2
    assert value(text, "hermes_answer_tokens_total") == 2 * DONE.answer_tokens
    assert value(text, "hermes_question_tokens_total") == 2 * DONE.question_tokens
    assert value(text, "hermes_time_per_token_seconds_count") == 2
    assert value(text, "hermes_calls_total", method=ASK, code="OK") == 2
    assert value(text, "hermes_call_duration_seconds_count", method=ASK) == 2
    assert value(text, "hermes_calls_running") == 0


async def test_a_refused_call_is_counted_with_its_reason() -> None:
    shard = ScriptedShard(answer=[STARTED, NoFrames("camera 'gate' has given no frame")])
    async with measured(await fleet_of(shard)) as (address, metrics):
        for camera in ("gate", "gaet"):
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(address, camera)
        text = await scrape(metrics)

    assert value(text, "hermes_calls_total", method=ASK, code="NOT_FOUND") == 1
    assert value(text, "hermes_refusals_total", reason="UNKNOWN_CAMERA") == 1
    assert value(text, "hermes_refusals_total", reason="NO_FRAMES") == 1


async def test_a_client_that_makes_up_methods_or_has_no_token_makes_no_series() -> None:
    async with measured(await fleet_of(ScriptedShard()), token="right") as (address, metrics):
        async with grpc.aio.insecure_channel(address) as channel:
            for number in range(5):
                for sent in (None, (("authorization", "Bearer right"),)):
                    with pytest.raises(grpc.aio.AioRpcError):
                        await channel.unary_unary(f"/made.up/Method{number}")(b"", metadata=sent)
        text = await scrape(metrics)

    assert value(text, "hermes_calls_total", method="unauthenticated", code="UNAUTHENTICATED") == 5
    assert value(text, "hermes_calls_total", method="unknown", code="UNIMPLEMENTED") == 5
    assert "Method" not in text


async def test_a_client_that_hangs_up_is_counted_as_cancelled() -> None:
    shard = ScriptedShard()
    shard.pause_s = 0.05
    async with measured(await fleet_of(shard)) as (address, metrics):
        async with grpc.aio.insecure_channel(address) as channel:
            call = pb_grpc.QueryServiceStub(channel).Ask(pb.AskRequest(camera="gate", question="what"))
            async with aclosing(aiter(call)) as events:  # type: ignore[type-var]
                await anext(events)
            call.cancel()
        text = ""
        while "CANCELLED" not in text:
            text = await scrape(metrics)

    assert value(text, "hermes_calls_total", method=ASK, code="CANCELLED") == 1


async def test_the_leader_reports_cameras_shards_and_slots() -> None:
    shards = [ScriptedShard(max_cameras=4, pid=1), ScriptedShard(max_cameras=4, pid=2)]
    shards[0].states["gate"] = (CameraState.STALLED, "no frame for 12 s")
    shards[1].states["gate"] = shards[0].states["gate"]
    async with measured(await fleet_of(*shards)) as (_, metrics):
        text = await scrape(metrics)

    assert value(text, "hermes_cameras", state="stalled") == 1
    assert value(text, "hermes_cameras", state="live") == 1
    assert value(text, "hermes_cameras", state="failed") == 0
    assert value(text, "hermes_shards", state="up") == 2
    assert value(text, "hermes_slots", shard="1") == 4
    assert value(text, "hermes_slots_used", shard="0") == 1
    assert value(text, "hermes_headroom_cameras") == 2
    assert value(text, "hermes_leader") == value(text, "hermes_ready") == 1
    assert value(text, "hermes_build_info", model="tiny") == 1


async def test_cameras_with_a_note_on_their_picture_are_counted_by_note() -> None:
    shard = ScriptedShard()
    shard.notes["gate"] = PictureNote.SCENE_CHANGED
    async with measured(await fleet_of(shard), per_camera=True) as (_, metrics):
        text = await scrape(metrics)

    assert value(text, "hermes_cameras_noted", note="scene_changed") == 1
    assert value(text, "hermes_cameras_noted", note="picture_black") == 0
    assert value(text, "hermes_camera_picture_noted", camera="gate") == 1
    assert value(text, "hermes_camera_picture_noted", camera="yard") == 0


async def test_the_version_that_runs_is_the_name_of_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """During an upgrade two images of one package version run side by side."""
    monkeypatch.setenv("HERMES_BUILD", "0.1.0-rc2")
    async with measured(await fleet_of(ScriptedShard())) as (_, metrics):
        assert value(await scrape(metrics), "hermes_build_info", version="0.1.0-rc2") == 1


async def test_what_a_shard_counts_is_reported_for_it() -> None:
    shard, waits = ScriptedShard(), Histogram()
    waits.observe(0.3)
    frames = FrameCounts(read=8, dropped={"live": 3}, gaps={"dropped": 1}, gap_s={"dropped": 2.5}, tokens_skipped=12)
    shard.counts = ShardCounts(
        frames=frames, questions=QuestionCounts(waiting=2, wait_s=waits.counts()), restores={"unreadable": 1}
    )
    async with measured(await fleet_of(shard)) as (_, metrics):
        text = await scrape(metrics)

    assert value(text, "hermes_frames_read_total", shard="0") == 8
    assert value(text, "hermes_frames_dropped_total", shard="0", state="live") == 3
    assert value(text, "hermes_gap_seconds_total", shard="0", reason="dropped") == 2.5
    assert value(text, "hermes_tokens_skipped_total", shard="0") == 12
    assert value(text, "hermes_questions_waiting", shard="0") == 2
    assert value(text, "hermes_question_wait_seconds_bucket", shard="0", le="0.25") == 0
    assert value(text, "hermes_question_wait_seconds_bucket", shard="0", le="0.5") == 1
    assert value(text, "hermes_question_wait_seconds_sum", shard="0") == 0.3
    assert value(text, "hermes_restores_total", shard="0", result="unreadable") == 1


async def test_moves_are_counted_with_their_pause() -> None:
    fleet = await fleet_of(ScriptedShard(pid=1), ScriptedShard(pid=2))
    async with measured(fleet) as (_, metrics):
        await fleet.move_camera("gate")
        text = await scrape(metrics)

    assert value(text, "hermes_moves_total", result="moved") == 1
    assert value(text, "hermes_moves_total", result="failed") == 0
    assert value(text, "hermes_move_pause_seconds_count") == 1


async def test_a_router_that_does_not_lead_leaves_the_fleet_to_the_one_that_does() -> None:
    async with measured(await fleet_of(ScriptedShard(), is_leader=False)) as (_, metrics):
        found = {sample.name for sample in samples(await scrape(metrics))}

    of_the_fleet = {metric.name for metric in definitions.OF_THE_FLEET}
    assert not {name for name in found if name.removesuffix("_total").removesuffix("_count") in of_the_fleet}
    assert "hermes_leader" in found


@pytest.mark.parametrize("per_camera", [False, True])
async def test_no_camera_has_series_of_its_own_unless_asked_for(per_camera: bool) -> None:
    async with measured(await fleet_of(ScriptedShard()), per_camera=per_camera) as (_, metrics):
        text = await scrape(metrics)

    assert ('camera="gate"' in text) is per_camera
    assert "canary" not in text
    assert "camera.example" not in text


async def test_names_follow_the_conventions_of_prometheus() -> None:
    async with measured(await fleet_of(ScriptedShard()), per_camera=True) as (address, metrics):
        await ask(address)
        text = await scrape(metrics)

    families = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    assert all(name.startswith(("hermes_", "process_")) for name, _ in families)
    assert all(name.endswith("_total") is (kind == "counter") for name, kind in families)
    promtool = shutil.which("promtool")
    if promtool is not None:
        check = [promtool, "check", "metrics"]
        found = await asyncio.to_thread(subprocess.run, check, input=text, capture_output=True, text=True, timeout=30)
        assert found.stderr + found.stdout == ""
