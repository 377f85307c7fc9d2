"""Faults made for real in a system of two shard processes: a real Prometheus raises the alerts of each, and no others.

How long a fault must last (`for`) is shorter than in the rules, and two limits are lower. Left to promtool
(tests/k8s/test_alerts.py) is HermesErrors: a forbidden, damaged or stopped store, a killed or hung shard, a dead camera
and too much work were tried, and end no call with an error that nobody foresaw.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from actors import ray_cluster, system
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.config.tls import TlsConfig
from actors.fleet.fleet import Fleet
from actors.system import System

# isort: split
import pytest
from redis import Redis

from console.client.channel import TlsFiles
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec, CameraState
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.ingest_config import IngestConfig
from tests import servers
from tests.actors.waiting import until
from tests.console.running import run
from tests.k8s import monitoring, prometheus_server
from tests.k8s.monitoring import needs_prometheus
from tests.k8s.prometheus_server import Watch
from tests.pipeline.footage import black_jpeg, jpeg
from tests.pipeline.servers import mjpeg_server
from tests.servers import VALKEY

pytestmark = [
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.prometheus,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    needs_prometheus,
]

QUESTION, SLOTS = "what is in view", 3
LEFT_TO_PROMTOOL = {"HermesErrors"}
# All that hermes writes but the chunks of checkpoints.
RIGHTS = [f"~hermes:{keys}" for keys in ("*:owner", "*:manifests", "lease:*", "cameras*", "shards", "settings")]
EXTRA = tuple(CameraSpec(name=f"n{number}", url="sim:street") for number in range(2 * SLOTS - 2))


@dataclass(frozen=True)
class Scene:
    """A running system, what watches it, and what its faults are made with. connect: a new client."""

    up: System
    watch: Watch
    connect: Callable[[], HermesClient]
    admin: Redis

    @property
    def fleet(self) -> Fleet:
        return self.up.fleet


@asynccontextmanager
async def watched(store: str, certs: Path, door: str) -> AsyncIterator[System]:
    """Two shards, and no room for a third; three cameras, one of them over HTTP, that have a checkpoint each."""
    settings = HermesConfig(
        store=store,
        ingest=IngestConfig(allowed_networks=("127.0.0.0/8",)),
        router=RouterConfig(
            port=0, tls=TlsConfig(certificate=certs / "server.pem", key=certs / "server-key.pem"), grace_s=1.0
        ),
        metrics=MetricsConfig(port=0),
        shards=ShardsConfig(
            min=2,
            max=3,
            grace_s=1.0,
            checkpoint_every_s=1.0,
            device=DeviceConfig(
                max_cameras=SLOTS, max_running_questions=1, max_waiting_questions=2, max_queued_clips=100
            ),
        ),
        cameras=(
            CameraSpec(name="gate", url="sim:gate"),
            CameraSpec(name="yard", url="sim:yard"),
            CameraSpec(name="door", url=door),
        ),
    )
    with ray_cluster.running(num_cpus=2, num_gpus=0):
        async with system.running(settings, has_local_ray=True) as up:

            async def are_saved() -> bool:
                """A memory without a frame is saved too, and answers nothing."""
                memories = [camera.status.memory for camera in await up.fleet.list_cameras()]
                return all(memory.checkpointed_s and memory.frames_seen for memory in memories)

            await until(are_saved)
            yield up


async def pid_of(fleet: Fleet, camera: str) -> int:
    """The process of the shard that the camera is on."""
    pid = (await fleet.list_shards())[(await fleet.get_camera(camera)).shard_index].pid
    assert pid is not None
    return pid


async def until_whole(fleet: Fleet) -> None:
    """Waits until both shards are up and the simulated cameras are live."""

    async def is_whole() -> bool:
        cameras = [camera for camera in await fleet.list_cameras() if camera.spec.name != "door"]
        is_live = all(camera.status.state is CameraState.LIVE for camera in cameras)
        return is_live and [shard.is_up for shard in await fleet.list_shards()] == [True, True]

    await until(is_whole)


@contextlib.contextmanager
def hanging(*pids: int | None) -> Iterator[None]:
    """Stops the processes during the block."""
    for pid in filter(None, pids):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(None, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_each_real_fault_raises_its_alert_and_no_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(servers.running(VALKEY, tmp_path / "store"))
        admin = stack.enter_context(store.client())
        admin.execute_command("ACL", "SETUSER", "hermes", "on", ">secret", "+@all", "~*", "&*")
        camera = stack.enter_context(ExitStack())
        pictures = [jpeg(1), jpeg(2)]
        door = camera.enter_context(mjpeg_server(pictures, 0.2))
        assert (await run("certs", "--folder", str(tmp_path / "certs"))).code == 0
        async with watched(f"redis://hermes:secret@127.0.0.1:{store.port}", tmp_path / "certs", door) as up:
            rules = prometheus_server.hasty_rules(tmp_path, LEFT_TO_PROMTOOL)
            prometheus = stack.enter_context(prometheus_server.running(tmp_path, up.metrics_address or "", rules))
            connect = partial(HermesClient, up.address, tls=TlsFiles(ca=tmp_path / "certs" / "ca.pem"))
            await asyncio.to_thread(ask, connect, 3)
            await until(prometheus.has_scraped)
            await until(prometheus.is_quiet)  # before its first scrape it takes the router for gone
            scene = Scene(up, Watch(prometheus), connect, admin)

            pictures[:] = [black_jpeg()] * 2
            await scene.watch.expect("HermesPicturesNoted")
            await asyncio.to_thread(camera.close)
            assert (await run("certs", "--folder", str(tmp_path / "certs"), "--days", "1")).code == 0
            await run_out_of_room_and_rights(scene)
            await hang_a_shard(scene)
            await lose_a_memory(scene)
            await overload(scene)
            store.stop()
            await scene.watch.expect("HermesNoLeader", "HermesCheckpointsLate")
            with hanging(*[shard.pid for shard in await up.fleet.list_shards()]):
                await scene.watch.expect("HermesNotReady", "HermesCamerasRecovering")
        await scene.watch.expect("HermesDown")

    every = {rule["alert"] for rule in monitoring.rules()}
    assert scene.watch.fired == every - LEFT_TO_PROMTOOL


def ask(connect: Callable[[], HermesClient], times: int) -> None:
    with connect() as hermes:
        for _ in range(times):
            assert list(hermes.ask("gate", QUESTION))[-1].HasField("done")


async def run_out_of_room_and_rights(scene: Scene) -> None:
    """No checkpoint can be written, and one camera too many waits for a third shard; then there is room again.

    The camera over HTTP and the long-lasting certificate have gone before.
    """
    scene.admin.execute_command("ACL", "SETUSER", "hermes", "resetkeys", "%R~*", *RIGHTS)
    await until(partial(move_fails, scene))
    for camera in EXTRA:
        await scene.fleet.add_camera(camera)
    await scene.watch.expect(
        "HermesMovesFail",
        "HermesCheckpointsLate",
        "HermesCamerasNotWatched",
        "HermesCertificateExpires",
        "HermesNoHeadroom",
        "HermesCamerasWaiting",
    )
    scene.admin.execute_command("ACL", "SETUSER", "hermes", "~*")
    for camera in EXTRA:
        await scene.fleet.remove_camera(camera.name)
    await scene.fleet.scale(2, 2)
    await until_whole(scene.fleet)


async def move_fails(scene: Scene) -> bool:
    """Moves a camera. Where nothing is new since its last checkpoint, no checkpoint has to be written for that."""
    with scene.connect() as hermes:
        try:
            await asyncio.to_thread(hermes.migrate_camera, "gate")
        except ClientError:
            return True
    return False


async def hang_a_shard(scene: Scene) -> None:
    """A question waits until the camera is on the other shard."""
    fleet, watch = scene.fleet, scene.watch
    index, pid = (await fleet.get_camera("gate")).shard_index, await pid_of(fleet, "gate")
    with hanging(pid):
        answer = asyncio.create_task(asyncio.to_thread(ask, scene.connect, 1))

        async def is_elsewhere() -> bool:
            camera = await fleet.get_camera("gate")
            return camera.shard_index != index and camera.status.state is CameraState.LIVE

        # The camera is behind until it is there, and what the hung process had no time for is lost.
        watch.allow("HermesCamerasRecovering", "HermesMemoryBehind", "HermesFramesDropped")
        await watch.expect("HermesShardDown", "HermesAnswersSlow")
        await until(is_elsewhere)
    await answer
    await watch.expect("HermesEpochsLost")
    await until_whole(fleet)


async def lose_a_memory(scene: Scene) -> None:
    """The chunks of a camera's checkpoints are damaged, none can be written, and its shard dies."""
    scene.admin.execute_command("ACL", "SETUSER", "hermes", "resetkeys", "%R~*", *RIGHTS)
    camera = (await scene.fleet.get_camera("gate")).status.id
    for key in scene.admin.scan_iter(f"hermes:{{{camera}}}:*"):
        if key.rpartition(b":")[2].isdigit():
            scene.admin.setrange(key, 64, b"damaged" * 8)
    os.kill(await pid_of(scene.fleet, "gate"), signal.SIGKILL)
    await scene.watch.expect("HermesMemoryLost")
    scene.admin.execute_command("ACL", "SETUSER", "hermes", "~*")
    await until_whole(scene.fleet)


async def overload(scene: Scene) -> None:
    """One camera of each shard gives thirty times as many frames, and more clients ask than may wait."""
    for index, name in enumerate(("gate", "yard")):
        await scene.fleet.move_camera(name, index)
        await scene.fleet.update_camera(name, lambda spec: replace(spec, frames_per_second=60.0, gate=False))
    is_over = threading.Event()

    def ask_on(name: str) -> None:
        with scene.connect() as hermes:
            while not is_over.is_set():
                try:
                    list(hermes.ask(name, QUESTION))
                except ClientError:
                    is_over.wait(0.1)

    loop, threads = asyncio.get_running_loop(), ThreadPoolExecutor(10)
    asking = [loop.run_in_executor(threads, ask_on, name) for name in ("gate", "yard") * 5]
    try:
        await scene.watch.expect(
            "HermesQuestionsRefused", "HermesShardsBusy", "HermesFramesDropped", "HermesMemoryBehind"
        )
    finally:
        is_over.set()
        await asyncio.gather(*asking)
    for name in ("gate", "yard"):
        await scene.fleet.update_camera(name, lambda spec: replace(spec, frames_per_second=0.5))
