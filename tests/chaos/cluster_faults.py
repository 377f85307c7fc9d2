"""What goes wrong on a real cluster, and what clients change meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psutil

from console.client.client import HermesClient
from protos import hermes_v1_pb2 as pb
from tests.chaos.cluster_world import ADDED, CONFIGURED, World, configured


async def kill_process(world: World) -> None:
    pid = await world.pid()
    world.note_fault(f"process {pid} killed")
    os.kill(pid, signal.SIGKILL)


async def hang_process(world: World) -> None:
    pid, for_s = await world.pid(), world.rng.uniform(1.0, 12.0)
    world.note_fault(f"process {pid} hangs for {for_s:.1f} s")
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(for_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def kill_node(world: World) -> None:
    pid = await world.pid()
    world.note_fault(f"node of process {pid} killed")
    world.cluster.kill(pid)
    await asyncio.sleep(world.rng.uniform(0.0, 5.0))
    world.keep_nodes()


async def hang_node(world: World) -> None:
    pid, for_s = await world.pid(), world.rng.uniform(2.0, 15.0)
    world.note_fault(f"node of process {pid} hangs for {for_s:.1f} s")
    world.cluster.hang(pid)
    await asyncio.sleep(for_s)
    world.cluster.wake()
    world.keep_nodes()


async def hang_raylet(world: World) -> None:
    """Ray gives the node up while the shard on it lives on and renews its lease."""
    pid, for_s = await world.pid(), world.rng.uniform(5.0, 15.0)
    world.note_fault(f"raylet of process {pid} hangs for {for_s:.1f} s")
    world.cluster.hang_raylet(pid)
    await asyncio.sleep(for_s)
    world.cluster.wake()
    world.keep_nodes()


async def hang_store(world: World) -> None:
    for_s = world.rng.choice([world.rng.uniform(0.5, 4.0), world.rng.uniform(6.0, 12.0)])
    world.note_fault(f"store hangs for {for_s:.1f} s")
    store = next(child for child in psutil.Process().children(recursive=True) if "valkey" in child.name())
    store.send_signal(signal.SIGSTOP)
    await asyncio.sleep(for_s)
    store.send_signal(signal.SIGCONT)


async def restart_server(world: World) -> None:
    """By SIGKILL or SIGTERM, in half of the cases with an edited configuration."""
    server = world.rng.choice(world.servers.processes)
    number = world.rng.choice((signal.SIGKILL, signal.SIGTERM))
    if world.rng.random() < 0.5:
        edited = [configured(CONFIGURED[-1], seed=world.rng.randrange(3))] * world.rng.randrange(2)
        world.servers.cameras = world.servers.cameras.edited(*map(configured, CONFIGURED[:-1]), *edited)
    world.note_fault(f"{server.name} restarted by {number.name}: {world.servers.cameras}")
    await server.restart(number, world.servers.cameras)


async def move(world: World) -> None:
    name = world.rng.choice(CONFIGURED)
    world.note_fault(f"{name} moves to another shard")
    await world.operate(lambda hermes: hermes.migrate_camera(name))


async def add(world: World) -> None:
    name = world.rng.choice(ADDED)
    request = pb.AddCameraRequest(name=name, url=world.url_of(name))
    world.note_fault(f"{name} added as {request.url}")
    since_s = world.now_s
    camera = await world.operate(lambda hermes: hermes.add_camera(request))
    if camera is not None:
        world.note("added", camera.id, name, since_s=since_s)


async def remove(world: World) -> None:
    name, since_s = world.rng.choice(ADDED), world.now_s
    ids = world.state.ids_of(name)
    world.note_fault(f"{name} removed")
    world.note("removing", name=name)
    result = await world.operate(lambda hermes: _removed(hermes, name))
    world.note("removing", name=name)
    if result is not None:
        for camera_id in ids:
            world.note("removed", camera_id, name, since_s=since_s)


async def change_login(world: World) -> None:
    """The same source with another password: the camera keeps its id."""
    name = world.rng.choice(ADDED)
    before = await world.operate(lambda hermes: hermes.get_camera(name))
    if before is None:
        return
    path = before.url.rpartition("/")[2]
    world.note_fault(f"{name} gets another login")
    request = pb.UpdateCameraRequest(name=name, url=world.url_of(name, path=path))
    request.update_mask.paths.append("url")
    await world.operate(lambda hermes: hermes.update_camera(request))


async def change_source(world: World) -> None:
    name, since_s = world.rng.choice(ADDED), world.now_s
    request = pb.UpdateCameraRequest(name=name, url=world.url_of(name), allow_memory_loss=True)
    request.update_mask.paths.append("url")
    world.note_fault(f"{name} gets the source {request.url}")
    world.note("removing", name=name)
    camera = await world.operate(lambda hermes: hermes.update_camera(request))
    world.note("removing", name=name)
    if camera is not None:
        world.note("added", camera.id, name, since_s=since_s)


def _removed(hermes: HermesClient, name: str) -> bool:
    hermes.remove_camera(name)
    return True


FAULTS = (kill_process, hang_process, kill_node, hang_node, hang_raylet, hang_store, restart_server)
OPERATIONS = (add, add, remove, change_login, change_source, move)
