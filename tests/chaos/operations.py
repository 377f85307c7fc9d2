"""What operators and clients do with a simulated fleet while faults happen."""

from __future__ import annotations

import asyncio
import dataclasses

from pipeline.cameras import CameraSpec
from tests.chaos.world import ADDED, CONFIGURED, World, spec_of


async def move(world: World) -> None:
    name, to_shard = _any_name(world), world.rng.randrange(len(world.shards))
    world.note_fault(f"{name} moves to shard {to_shard}")
    await world.operate(lambda fleet: fleet.move_camera(name, to_shard))


async def drain(world: World) -> None:
    """Drains a shard, then restarts its process, as for an upgrade, or takes the drain back."""
    index = world.rng.randrange(len(world.shards))
    shard, drained = world.shards[index], world.shards[index].present
    world.note_fault(f"shard {drained.process.name} drained")
    await world.operate(lambda fleet: fleet.drain(index))
    await asyncio.sleep(world.rng.uniform(0.0, 5.0))
    if world.rng.random() < 0.5:
        world.note_fault(f"shard {drained.process.name} undrained")
        for _ in range(30):
            if shard.present is drained and await world.operate(lambda fleet: fleet.undrain(index)) is None:
                await asyncio.sleep(1.0)
    elif shard.present is drained:
        await shard.kill()


async def add(world: World) -> None:
    spec = spec_of(world.rng.choice(ADDED), source=world.rng.randrange(2))
    world.note_fault(f"{spec.name} added as {spec.url}")
    since_s = world.now_s
    view = await world.operate(lambda fleet: fleet.add_camera(spec))
    if view is not None:
        world.note("added", view.status.id, spec.name, since_s=since_s)


async def remove(world: World) -> None:
    name = world.rng.choice(ADDED)
    ids = tuple(world.store.names.get(name, ()))
    world.note_fault(f"{name} removed")
    world.note("removing", name=name)
    since_s, result = world.now_s, await world.operate(lambda fleet: _confirmed(fleet.remove_camera(name)))
    world.note("removing", name=name)
    if result is not None:
        for camera_id in ids:
            world.note("removed", camera_id, name, since_s=since_s)


async def change_login(world: World) -> None:
    name, login = _any_name(world), world.rng.randrange(3)

    def change(spec: CameraSpec) -> CameraSpec:
        return dataclasses.replace(spec, url=f"rtsp://user:password{login}@{spec.url.partition('@')[2]}")

    world.note_fault(f"{name} gets another login")
    await world.operate(lambda fleet: fleet.update_camera(name, change))


async def change_source(world: World) -> None:
    name = world.rng.choice(ADDED)
    spec = spec_of(name, source=world.rng.randrange(2))
    world.note_fault(f"{name} gets the source {spec.url}")
    world.note("removing", name=name)
    since_s = world.now_s
    view = await world.operate(lambda fleet: fleet.update_camera(name, lambda _: spec, allow_memory_loss=True))
    world.note("removing", name=name)
    if view is not None:
        world.note("added", view.status.id, name, since_s=since_s)


async def erase(world: World) -> None:
    name, since_s = _any_name(world), world.now_s
    world.note_fault(f"the memory of {name} is erased")
    view = await world.operate(lambda fleet: fleet.erase_memory(name))
    if view is not None:
        world.note("erased", view.status.id, name, since_s=since_s)


async def _confirmed(work) -> bool:
    await work
    return True


def _any_name(world: World) -> str:
    return world.rng.choice((*CONFIGURED, *ADDED))


OPERATIONS = (move, add, remove, drain, change_login, change_source, erase)
