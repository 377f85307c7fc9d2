"""A whole system: store, Ray, two shards, router. Bad input harms nothing else; a killed shard comes back."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path
from urllib.parse import quote

from actors import open_ports, system
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.system import System

# isort: split
import numpy as np
import psutil
import pytest
import pytest_asyncio
import ray
import structlog
from google.protobuf.field_mask_pb2 import FieldMask

from cache_store.tiers import MemoryConfig
from console.client import answers
from console.client.answers import Answer
from console.client.client import HermesClient
from console.client.errors import ClientError
from models.tiny.scenes import questions
from models.tiny.scenes.scene import Scene
from pipeline.cameras import CameraSpec, CameraState
from pipeline.decoding import video_writer
from pipeline.device.device_config import DeviceConfig, WhenFull
from pipeline.sources.ingest_config import IngestConfig
from protos import hermes_v1_pb2 as pb
from tests.actors.server.reflected import ReflectedClient
from tests.actors.waiting import until
from tests.console.running import Ended, run
from tests.pipeline import servers
from tests.pipeline.servers import TEST_PICTURE, Reply

log = structlog.get_logger(__name__)

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SEED, GAP_S = 3, 4.0
NO_RTSP = servers.why_no_rtsp()
BACK_WITHIN_S = 15.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    settings = HermesConfig(
        memory=MemoryConfig(tokens_per_layer=256),
        ingest=IngestConfig(allowed_networks=("127.0.0.0/8",), video_folders=(Path(tempfile.gettempdir()),)),
        # No camera is refused, however long a frame takes on a busy machine.
        shards=ShardsConfig(count=2, checkpoint_every_s=2.0, device=DeviceConfig(when_full=WhenFull.LOWER_RATES)),
        store=f"embedded:{tmp_path_factory.mktemp('store')}",
        router=RouterConfig(port=0),
        cameras=(
            CameraSpec(name="gate", url=f"sim:gate?seed={SEED}&gap={GAP_S}"),
            CameraSpec(name="yard", url=f"sim:yard?seed=11&gap={GAP_S}"),
        ),
    )
    async with system.running(settings) as up:
        await until(partial(are_live, up))
        yield up


async def are_live(running: System) -> bool:
    return all(camera.status.state is CameraState.LIVE for camera in await running.fleet.list_cameras())


@pytest.fixture
def hermes(running: System) -> Iterable[HermesClient]:
    with HermesClient(running.address) as connected:
        yield connected


def ask(hermes: HermesClient, camera: str, question: str) -> Answer:
    return answers.collect(camera, question, hermes.ask(camera, question))


async def test_no_port_is_open_beyond_this_machine(running: System) -> None:
    listeners = open_ports.listeners(psutil.Process())

    assert any(f":{listener.port}" in running.address for listener in listeners)
    assert [listener for listener in listeners if not listener.is_loopback] == []


async def test_a_client_with_reflection_alone_lists_cameras_and_asks(running: System) -> None:
    def converse() -> tuple[list[dict], list[dict]]:
        reflected = ReflectedClient(running.address)
        listed = list(reflected.call("hermes.v1.CameraService", "ListCameras", {}))
        question = {"camera": "gate", "question": "what is in view"}
        answered = list(reflected.call("hermes.v1.QueryService", "Ask", question))
        reflected.close()
        return listed, answered

    listed, answered = await asyncio.to_thread(converse)

    assert [camera["name"] for camera in listed[0]["cameras"]] == ["gate", "yard"]
    assert "started" in answered[0]
    assert answered[-1]["done"]["answer"]


@pytest.mark.parametrize(
    ("make", "code", "named"),
    [
        ("missing", "SOURCE_INVALID", "missing.mp4"),
        ("text", "SOURCE_INVALID", "text.mp4"),
        ("audio", "SOURCE_INVALID", "audio.wav"),
        ("folder", "SOURCE_INVALID", "folder"),
        ("http://user:canary@169.254.169.254/1", "SOURCE_INVALID", "169.254.169.254"),
        ("rtsp://user:canary@127.0.0.1:9/1", "SOURCE_UNREACHABLE", "127.0.0.1"),
        ("http://user:canary@127.0.0.1:9/1?key=canary", "SOURCE_UNREACHABLE", "127.0.0.1"),
        ("rtsp://user:canary@no host/1", "INVALID_CAMERA", "rtsp"),
        ("gopher://user:canary@host/1", "INVALID_CAMERA", "gopher"),
        ("sim:street?sed=7", "INVALID_CAMERA", "sed"),
    ],
)
async def test_an_unusable_source_is_refused_by_name(
    hermes: HermesClient, tmp_path: Path, make: str, code: str, named: str
) -> None:
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(hermes.add_camera, pb.AddCameraRequest(name="bad", url=source(make, tmp_path)))

    assert caught.value.reason == code
    assert named in str(caught.value)
    assert "canary" not in str(caught.value)
    assert [camera.name for camera in await asyncio.to_thread(hermes.list_cameras)] == ["gate", "yard"]


@pytest.mark.rtsp
@pytest.mark.skipif(bool(NO_RTSP), reason=NO_RTSP)
async def test_a_password_appears_in_no_output_of_the_system(running: System, capfd) -> None:
    """In success and failure: command line, gRPC, own logs, Ray's logs; raw, quoted, and in the form of Basic."""
    word = "c4n4ry/w@rd"
    quoted = quote(word, safe="")
    ended: list[Ended] = []
    refusing = Reply(401, (("WWW-Authenticate", "Basic realm=camera"),))
    with (
        servers.rtsp_server(TEST_PICTURE, "viewer", word) as (port, _),
        servers.scripted_server({"/live": refusing}) as web,
    ):
        good = f"rtsp://viewer:{quoted}@127.0.0.1:{port}/live"
        http = f"http://viewer:{quoted}@{web.url.removeprefix('http://')}/live?token={quoted}"
        for command in (
            ("test", good),
            ("test", f"{good}/none"),
            ("test", good.replace("viewer", "other")),
            ("test", http),
            ("add", "canary", good),
            ("add", "bad", good.replace("viewer", "other")),
            ("add", "worse", http),
            ("add", "worst", f"{good} with a space"),
            ("add", "canary", f"{good}?again"),
            ("list",),
            ("show", "canary"),
            ("list", "--json"),
            ("remove", "canary"),
        ):
            ended.append(await run("cameras", *command, "--address", running.address))

    assert [one.code for one in ended] == [0, 1, 1, 1, 0, 2, 2, 2, 2, 0, 0, 0, 0]
    outputs = [ended, capfd.readouterr(), *(path.read_bytes().decode(errors="replace") for path in ray_logs())]
    basic = base64.b64encode(f"viewer:{word}".encode()).decode()
    for form in ("c4n4ry", word, quoted, basic.rstrip("=")):
        assert not [part for part in outputs if form in repr(part)], form
    assert "camera_state" in repr(outputs)


def ray_logs() -> list[Path]:
    """The log files of Ray and its processes."""
    folder = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs"
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_truncated_video_is_watched_to_its_last_frame(hermes: HermesClient, tmp_path: Path) -> None:
    images = (np.full((64, 96, 3), 5 * number, np.uint8) for number in range(40))
    path = tmp_path / "cut"
    video_writer.write_video(images, path, fps=4, codec="mjpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

    await asyncio.to_thread(hermes.add_camera, pb.AddCameraRequest(name="cut", url=str(path), pace=pb.PACE_FAST))
    await until(lambda: hermes.get_camera("cut").state == pb.CAMERA_STATE_ENDED)
    await until(lambda: hermes.get_camera("cut").memory.frames_seen > 0)

    assert (await asyncio.to_thread(ask, hermes, "cut", "what is in view")).is_done
    await asyncio.to_thread(hermes.remove_camera, "cut")


async def test_a_camera_whose_picture_goes_black_has_a_note_in_the_list_until_it_is_back(
    hermes: HermesClient, tmp_path: Path
) -> None:
    street = Scene(5)
    images = (street.frame(number / 4, 320, 180) * (not 12 <= number < 92) for number in range(140))
    path = tmp_path / "lens.mp4"
    video_writer.write_video(images, path, fps=4, codec="h264")
    await asyncio.to_thread(hermes.add_camera, pb.AddCameraRequest(name="lens", url=str(path), loop=True))
    listed: list[dict[str, tuple[int, int]]] = []

    def is_noted(note: int) -> bool:
        listed.append({camera.name: (camera.state, camera.picture_note) for camera in hermes.list_cameras()})
        return listed[-1]["lens"] == (pb.CAMERA_STATE_LIVE, note)

    well, black = pb.PICTURE_NOTE_UNSPECIFIED, pb.PICTURE_NOTE_PICTURE_BLACK
    for note in (well, black, well):
        await until(partial(is_noted, note))

    assert {notes[name][1] for notes in listed for name in ("gate", "yard")} == {well}
    await asyncio.to_thread(hermes.remove_camera, "lens")


async def test_an_invalid_question_is_refused_and_the_next_is_answered(hermes: HermesClient) -> None:
    for question, message in (("", "empty"), ("where " * 10_000, "59999 characters")):
        with pytest.raises(ClientError, match=message) as caught:
            await asyncio.to_thread(ask, hermes, "gate", question)
        assert caught.value.reason == "INVALID_QUESTION"
    with pytest.raises(ClientError, match="'gaet'"):
        await asyncio.to_thread(ask, hermes, "gaet", "what is in view")

    assert (await asyncio.to_thread(ask, hermes, "gate", "what is in view")).is_done


async def test_cancelled_answers_free_their_slots(hermes: HermesClient) -> None:
    """There are more of them than a shard can answer at once."""

    def cancel_early() -> None:
        events = hermes.ask("gate", "what is in view")
        assert next(events).HasField("started")
        events.close()

    for _ in range(12):
        await asyncio.to_thread(cancel_early)

    assert (await asyncio.to_thread(ask, hermes, "gate", "what is in view")).is_done


async def test_a_camera_is_changed_with_its_memory_and_forgets_when_told_to(hermes: HermesClient) -> None:
    await until(lambda: hermes.get_camera("yard").memory.frames_seen >= 8)
    before = await asyncio.to_thread(hermes.get_camera, "yard")
    change = pb.UpdateCameraRequest(
        name="yard", update_mask=FieldMask(paths=["labels", "frames_per_second"]), labels={"floor": "1"}
    )
    change.frames_per_second = 4.0
    changed = await asyncio.to_thread(hermes.update_camera, change)
    labelled = await asyncio.to_thread(hermes.list_cameras, pb.ListCamerasRequest(labels={"floor": "1"}))
    await until(lambda: hermes.get_camera("yard").memory.frames_seen > before.memory.frames_seen)
    watched = await asyncio.to_thread(hermes.get_camera, "yard")
    await asyncio.to_thread(hermes.erase_memory, "yard")
    answer = await asyncio.to_thread(ask, hermes, "yard", "what is in view")
    await until(lambda: hermes.get_camera("yard").memory.frames_seen > 0)
    erased = await asyncio.to_thread(hermes.get_camera, "yard")

    assert (changed.id, watched.id, erased.id) == (before.id,) * 3
    assert watched.memory.oldest.ToNanoseconds() <= before.memory.newest.ToNanoseconds()
    assert [camera.name for camera in labelled] == ["yard"]
    assert answer.is_done
    assert answer.camera_id == before.id
    assert erased.memory.oldest.ToNanoseconds() > watched.memory.newest.ToNanoseconds()


async def test_a_drained_shard_takes_cameras_again_after_undrain(hermes: HermesClient) -> None:
    drained = await asyncio.to_thread(hermes.drain_shard, 0)
    with pytest.raises(ClientError, match="takes no cameras now"):
        await asyncio.to_thread(hermes.migrate_camera, "yard", 0)
    await asyncio.to_thread(hermes.undrain_shard, 0)
    moved = await asyncio.to_thread(hermes.migrate_camera, "yard", 0)

    assert (list(drained.shard.cameras), list(drained.not_moved)) == ([], [])
    assert moved.shard == 0


async def test_a_camera_comes_back_with_its_memory_after_a_kill(running: System, hermes: HermesClient) -> None:
    """The first visitor left long before the kill, so only the restored global summary tier knows it."""
    scene = Scene(SEED, mean_gap_s=GAP_S)
    first = scene.visits(60.0)[0]
    started_s = running.fleet.started_s("gate")

    def is_saved() -> bool:
        memory = hermes.get_camera("gate").memory
        saved_s = memory.checkpointed.ToNanoseconds() / 1e9 - started_s
        return memory.compressions >= 5 and saved_s > first.leave_s + 6.0

    await until(is_saved)
    before = await asyncio.to_thread(ask, hermes, "gate", "what came first")
    assert before.text == first.name
    frames_seen = (await asyncio.to_thread(hermes.get_camera, "gate")).memory.frames_seen
    pid = await shard_pid(running, "gate")
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    other = await asyncio.to_thread(ask, hermes, "yard", "what is in view")
    assert other.is_done

    async def is_back() -> bool:
        return await shard_pid(running, "gate") not in (None, pid) and await is_live(hermes, "gate")

    took_s = await until(is_back, BACK_WITHIN_S)
    after = await asyncio.to_thread(ask, hermes, "gate", "what came first")

    memory = (await asyncio.to_thread(hermes.get_camera, "gate")).memory
    log.info("camera_restored", after_s=round(took_s, 1))
    assert await shard_pid(running, "gate") != pid
    assert after.text == questions.answer_at("what came first", scene.visits(600.0), 600.0) == first.name
    assert memory.compressions >= 2  # those of the checkpoint, which may be one interval old
    assert memory.frames_seen > frames_seen / 2
    assert after.memory_as_of is not None
    assert before.memory_as_of is not None
    assert after.memory_as_of.timestamp() > before.memory_as_of.timestamp() - 10


async def test_a_shard_has_the_priority_of_the_process_that_started_it(running: System) -> None:
    """Ray's default for its workers leaves a shard a thirtieth of a core beside any busy process."""

    async def are_up() -> bool:
        return all(shard.is_up for shard in await running.fleet.list_shards())

    await until(are_up)
    pids = [shard.pid for shard in await running.fleet.list_shards() if shard.pid is not None]

    assert len(pids) == 2
    assert {psutil.Process(pid).nice() for pid in pids} == {psutil.Process().nice()}


async def is_live(hermes: HermesClient, camera: str) -> bool:
    return (await asyncio.to_thread(hermes.get_camera, camera)).state == pb.CAMERA_STATE_LIVE


async def shard_pid(running: System, camera: str) -> int | None:
    index = (await running.fleet.get_camera(camera)).shard_index
    shard = (await running.fleet.list_shards())[index]
    return shard.pid if shard.is_up else None


def source(make: str, folder: Path) -> str:
    """The source of a test row: creates a broken file, or returns the URL itself."""
    match make:
        case "missing":
            return str(folder / "missing.mp4")
        case "text":
            (folder / "text.mp4").write_text("no video\n" * 200)
            return str(folder / "text.mp4")
        case "audio":
            return str(write_sound(folder / "audio.wav"))
        case "folder":
            (folder / "folder").mkdir()
            return str(folder / "folder")
    return make


def write_sound(path: Path) -> Path:
    """A second of silence."""
    header = b"RIFF" + (36 + 8_000).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") * 2 + (8_000).to_bytes(4, "little") * 2
    header += (1).to_bytes(2, "little") + (8).to_bytes(2, "little") + b"data" + (8_000).to_bytes(4, "little")
    path.write_bytes(header + bytes([128]) * 8_000)
    return path
