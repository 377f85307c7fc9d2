"""Faults made for real in a system of two shard processes: a real Prometheus raises the alert of each, and no other.

Only how long a fault must last (`for`) is shorter than in the rules. Left to promtool (tests/k8s/test_alerts.py):

- HermesMemoryBehind: a live camera is 30 s behind only where a device hangs that is not the CPU; queues drop before.
- HermesErrors: an error that nobody foresaw cannot be made without putting a fault into the code.
- HermesShardsBusy, HermesFramesDropped: how much two cores of a test can do says nothing, and differs from run to run.
- HermesCamerasRecovering, HermesDown, HermesNoLeader, HermesCheckpointsLate: not made here yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from actors import system
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.fleet.fleet import Fleet
from actors.system import System

# isort: split
import pytest
from redis import Redis

from benchmarks import nodes
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec, CameraState, TooManyCameras
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.ingest_config import IngestConfig
from tests import servers
from tests.actors.waiting import until
from tests.k8s import monitoring, prometheus_server
from tests.k8s.monitoring import needs_prometheus
from tests.k8s.prometheus_server import Watch
from tests.pipeline.footage import jpeg
from tests.pipeline.servers import mjpeg_server
from tests.servers import VALKEY

pytestmark = [
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.prometheus,
    pytest.mark.slow,
    pytest.mark.timeout(420),
    needs_prometheus,
]

QUESTION, SLOTS = "what is in view", 3
LEFT_TO_PROMTOOL = {"HermesMemoryBehind", "HermesErrors", "HermesShardsBusy", "HermesFramesDropped"}
LEFT_TO_PROMTOOL |= {"HermesCamerasRecovering", "HermesDown", "HermesNoLeader", "HermesCheckpointsLate"}
LEFT_TO_PROMTOOL |= {"HermesCertificateExpires"}
# All that hermes writes but the chunks of checkpoints.
RIGHTS = [f"~hermes:{keys}" for keys in ("*:owner", "*:manifests", "lease:*", "cameras*", "shards", "settings")]


@asynccontextmanager
async def watched(store: str, ray: str, door: str) -> AsyncIterator[System]:
    """Two shards with three cameras, one of them over HTTP, that have a checkpoint each."""
    settings = HermesConfig(
        store=store,
        ingest=IngestConfig(allowed_networks=("127.0.0.0/8",)),
        router=RouterConfig(port=0),
        metrics=MetricsConfig(port=0),
        shards=ShardsConfig(
            min=2,
            max=3,
            ray=ray,
            checkpoint_every_s=1.0,
            device=DeviceConfig(max_cameras=SLOTS, max_running_questions=1, max_waiting_questions=2),
        ),
        cameras=(
            CameraSpec(name="gate", url="sim:gate"),
            CameraSpec(name="yard", url="sim:yard"),
            CameraSpec(name="door", url=door),
        ),
    )
    async with system.running(settings) as up:

        async def are_saved() -> bool:
            return all(camera.status.memory.checkpointed_s for camera in await up.fleet.list_cameras())

        await until(are_saved)
        yield up


async def pid_of(fleet: Fleet, camera: str) -> int:
    """The process of the shard that the camera is on."""
    pid = (await fleet.list_shards())[(await fleet.get_camera(camera)).shard_index].pid
    assert pid is not None
    return pid


async def are_live(fleet: Fleet, *cameras: str) -> bool:
    return all([(await fleet.get_camera(camera)).status.state is CameraState.LIVE for camera in cameras])


@contextlib.contextmanager
def hanging(*pids: int) -> Iterator[None]:
    """Stops the processes during the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_each_real_fault_raises_its_alert_and_no_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = stack.enter_context(nodes.running(2))
        store = stack.enter_context(servers.running(VALKEY, tmp_path / "store"))
        admin = stack.enter_context(store.client())
        admin.execute_command("ACL", "SETUSER", "hermes", "on", ">secret", "+@all", "~*", "&*")
        camera = stack.enter_context(ExitStack())
        door = camera.enter_context(mjpeg_server((jpeg(1), jpeg(2)), 0.2))
        async with watched(f"redis://hermes:secret@127.0.0.1:{store.port}", cluster.address, door) as up:
            rules = prometheus_server.hasty_rules(tmp_path, LEFT_TO_PROMTOOL)
            prometheus = stack.enter_context(prometheus_server.running(tmp_path, up.metrics_address or "", rules))
            hermes = stack.enter_context(HermesClient(up.address))
            await asyncio.to_thread(lambda: [list(hermes.ask("gate", QUESTION)) for _ in range(3)])
            await until(prometheus.has_scraped)
            await until(prometheus.is_quiet)  # before its first scrape it takes the router for gone
            watch = Watch(prometheus)

            admin.execute_command("ACL", "SETUSER", "hermes", "resetkeys", "%R~*", *RIGHTS)
            with pytest.raises(ClientError):
                await asyncio.to_thread(hermes.migrate_camera, "gate")
            await watch.expect("HermesMovesFail")
            await asyncio.to_thread(camera.close)
            await watch.expect("HermesCamerasNotWatched")
            await lose_shards(up.fleet, watch, hermes)
            await lose_memory(up.fleet, watch, admin)
            await run_out_of_room(up.fleet, watch)
            await ask_too_much(up.address, watch)
            await lose_all_shards(up.fleet, watch)

    every = {rule["alert"] for rule in monitoring.rules()}
    assert watch.fired == every - LEFT_TO_PROMTOOL


async def lose_shards(fleet: Fleet, watch: Watch, hermes: HermesClient) -> None:
    """One whose process is killed as often as Ray starts it; then one that hangs, for a moment and for longer."""
    killing = asyncio.create_task(keep_down(fleet, (await fleet.get_camera("gate")).shard_index))
    await watch.expect("HermesShardDown")
    killing.cancel()
    await until_whole(fleet)

    with hanging(await pid_of(fleet, "gate")):
        answer = asyncio.create_task(asyncio.to_thread(lambda: list(hermes.ask("gate", QUESTION))))
        await until(partial(watch.prometheus.is_true, "min_over_time(hermes_calls_running[3s]) > 0"))
    assert (await answer)[-1].HasField("done")
    await watch.expect("HermesAnswersSlow")
    await until_whole(fleet)

    index, pid = (await fleet.get_camera("gate")).shard_index, await pid_of(fleet, "gate")
    with hanging(pid):

        async def is_elsewhere() -> bool:
            camera = await fleet.get_camera("gate")
            return camera.shard_index != index and camera.status.state is CameraState.LIVE

        await until(is_elsewhere)
    await watch.expect("HermesEpochsLost")
    await until_whole(fleet)


async def keep_down(fleet: Fleet, index: int) -> None:
    """Kills each process of a shard, until it is cancelled."""
    while True:
        shard = (await fleet.list_shards())[index]
        if shard.is_up and shard.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(shard.pid, signal.SIGKILL)
        await asyncio.sleep(0.05)


async def until_whole(fleet: Fleet) -> None:
    """Waits until both shards are up and the simulated cameras are live."""

    async def is_whole() -> bool:
        return all(shard.is_up for shard in await fleet.list_shards()) and await are_live(fleet, "gate", "yard")

    await until(is_whole)


async def lose_memory(fleet: Fleet, watch: Watch, admin: Redis) -> None:
    """The chunks of a camera's checkpoints are damaged, and its shard dies."""
    camera = (await fleet.get_camera("gate")).status.id
    for key in admin.scan_iter(f"hermes:{{{camera}}}:*"):
        if key.rpartition(b":")[2].isdigit():
            admin.setrange(key, 64, b"damaged" * 8)
    os.kill(await pid_of(fleet, "gate"), signal.SIGKILL)
    await watch.expect("HermesMemoryLost")
    await until_whole(fleet)


async def run_out_of_room(fleet: Fleet, watch: Watch) -> None:
    """First there is no room for a lost shard, then none for a camera: no node is there for a third shard."""
    await fleet.add_camera(CameraSpec(name="fourth", url="sim:fourth", frames_per_second=0.5))
    await watch.expect("HermesNoHeadroom")
    for number in range(5, 2 * SLOTS + 2):
        await until(partial(is_added, fleet, CameraSpec(name=f"n{number}", url="sim:street", frames_per_second=0.5)))
    await watch.expect("HermesCamerasWaiting")


async def is_added(fleet: Fleet, camera: CameraSpec) -> bool:
    """Adds the camera; False where a move that saves nothing any more has kept the slot for a moment."""
    with contextlib.suppress(TooManyCameras):
        await fleet.add_camera(camera)
    return any(view.spec == camera for view in await fleet.list_cameras())


async def ask_too_much(address: str, watch: Watch) -> None:
    """Many more questions at once than a shard lets wait."""

    def ask(_: int) -> None:
        with HermesClient(address) as hermes, contextlib.suppress(ClientError):
            list(hermes.ask("yard", QUESTION))

    with ThreadPoolExecutor(40) as threads:
        await asyncio.to_thread(lambda: list(threads.map(ask, range(160))))
    await watch.expect("HermesQuestionsRefused")


async def lose_all_shards(fleet: Fleet, watch: Watch) -> None:
    """All of them hang."""
    with hanging(*[shard.pid for shard in await fleet.list_shards() if shard.pid is not None]):
        await watch.expect("HermesNotReady")
