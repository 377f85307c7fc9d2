"""What goes wrong in a simulated fleet."""

from __future__ import annotations

import asyncio
import dataclasses

from tests.chaos.history import ROLLED_BACK, STORE_EMPTIED
from tests.chaos.operations import add, change_login, change_source, drain, erase, move, remove
from tests.chaos.simulated_server import Configuration
from tests.chaos.virtual_process import Pause
from tests.chaos.world import CONFIGURED, World, spec_of


async def kill(world: World) -> None:
    shard = world.rng.choice(world.running)
    world.note_fault(f"shard {shard.process.name} killed")
    await shard.kill()


async def outlive(world: World) -> None:
    """Ray starts the next process while the last one lives on for a while, in half of the cases stopped at first."""
    shard = world.rng.choice(world.running)
    last = shard.process
    shard.replace()
    world.note_fault(f"shard {last.name} replaced, still alive")
    if world.rng.random() < 0.5:
        last.stop()
        await asyncio.sleep(world.rng.uniform(1.0, 12.0))
        last.resume()
    await asyncio.sleep(world.rng.uniform(0.0, 12.0))
    last.kill()


async def pause(world: World) -> None:
    """A process, its machine, or a virtual machine with all of its clocks stands still for a while."""
    life, how = world.rng.choice(world.shards).present, world.rng.choice(tuple(Pause))
    if life.process.is_stopped or life.process.is_dead:
        return
    world.note_fault(f"shard {life.process.name}: {how.value}")
    life.process.stop(how)
    await asyncio.sleep(world.rng.uniform(0.2, 15.0))
    if how is Pause.VIRTUAL_MACHINE:
        world.note_resumed(life.incarnation)
    life.process.resume()


async def pause_server(world: World) -> None:
    process, how = world.rng.choice(world.servers).process, world.rng.choice((Pause.PROCESS, Pause.SUSPENDED))
    if process.is_stopped or process.is_dead:
        return
    world.note_fault(f"{process.name}: {how.value}")
    process.stop(how)
    await asyncio.sleep(world.rng.uniform(0.2, 15.0))
    process.resume()


async def wall_clock_steps(world: World) -> None:
    process = world.rng.choice([*(life.process for life in world.lives), *(one.process for one in world.servers)])
    world.note_fault(f"wall clock of {process.name} steps")
    process.wall_step_s += world.rng.choice((world.rng.uniform(-7_200, 3_600), world.rng.uniform(-3, 3)))


async def store_clock_steps(world: World) -> None:
    world.note_fault("clock of the store steps")
    world.store.clock_step_s += world.rng.uniform(-7_200, 3_600)


async def store_down(world: World) -> None:
    world.note_fault("store down")
    world.store.is_down = True
    await asyncio.sleep(world.rng.choice([world.rng.uniform(0.2, 4.0), world.rng.uniform(4.0, 20.0)]))
    world.store.is_down = False


async def store_slow(world: World) -> None:
    world.note_fault("store slow")
    world.store.slowness_s = world.rng.uniform(0.05, 1.0)
    await asyncio.sleep(world.rng.uniform(1.0, 10.0))
    world.store.slowness_s = 0.002


async def store_cut_off(world: World) -> None:
    """One process does not reach the store."""
    process = world.rng.choice([*(shard.process for shard in world.shards), *(one.process for one in world.servers)])
    world.note_fault(f"{process.name} does not reach the store")
    world.store.cut_off.add(process)
    await asyncio.sleep(world.rng.uniform(0.5, 12.0))
    world.store.cut_off.discard(process)


async def store_emptied(world: World) -> None:
    """The store loses its data, at once or after it was away for longer than a lease."""
    if world.rng.random() < 0.5:
        world.note_fault("store down, then empty")
        world.store.is_down = True
        await asyncio.sleep(world.rng.uniform(1.0, 15.0))
        world.store.is_down = False
    world.note_fault(STORE_EMPTIED)
    world.store.forget_everything()
    world.note_forgotten()


async def registry_rolled_back(world: World) -> None:
    """A primary is lost with its last writes to the registry."""
    backup = world.store.registry.backup()
    await asyncio.sleep(world.rng.uniform(0.5, 8.0))
    world.note_fault(ROLLED_BACK)
    world.store.registry.roll_back(backup)
    world.note_forgotten()


async def server_restarts(world: World) -> None:
    """By SIGKILL, in half of the cases with an edited configuration."""
    server = world.rng.choice(world.servers)
    if world.rng.random() < 0.5:
        world.configuration = _edited(world, world.configuration)
        world.note_fault(f"configuration: {world.configuration}")
    world.note_fault(f"{server.process.name} restarted")
    server.restart(world.configuration)
    world.note_forgotten()


async def everything_restarts_over_an_empty_store(world: World) -> None:
    """Store and servers are lost together, and come back; the shards run on, and no server knows of them."""
    world.note_fault("all servers down")
    for server in world.servers:
        server.stop()
    await asyncio.sleep(world.rng.uniform(0.0, 10.0))
    await store_emptied(world)
    for server in world.servers:
        world.configuration = world.configuration if world.rng.random() < 0.5 else _edited(world, world.configuration)
        world.note_fault(f"{server.process.name} restarted: {world.configuration}")
        server.restart(world.configuration)
    world.note_forgotten()  # of two such faults at once, one empties the store of servers that the other has started


def _edited(world: World, configuration: Configuration) -> Configuration:
    """One more camera or one less, another source or another login; mostly a new version, with as many shards or not.

    Without a new version the file adds cameras and changes logins, and ends none.
    """
    cameras = [spec_of(name, login=world.rng.randrange(3)) for name in CONFIGURED[:-2]]
    cameras.append(spec_of(CONFIGURED[-2], source=world.rng.randrange(3)))
    if world.rng.random() < 0.5:
        cameras.append(spec_of(CONFIGURED[-1]))
    edited = dataclasses.replace(configuration, cameras=tuple(cameras))
    if world.rng.random() < 0.2:
        return edited
    shards = configuration.shards if world.rng.random() < 0.4 else 5 - configuration.shards
    return dataclasses.replace(edited, shards=shards, version=configuration.version + 1)


async def unreachable(world: World) -> None:
    shard = world.rng.choice(world.shards)
    world.note_fault(f"shard {shard.process.name} unreachable")
    shard.is_unreachable = True
    await asyncio.sleep(world.rng.uniform(0.5, 12.0))
    shard.is_unreachable = False


FAULTS = (
    *(kill, outlive, pause) * 2,
    pause_server,
    wall_clock_steps,
    store_clock_steps,
    store_down,
    store_slow,
    store_cut_off,
    store_emptied,
    registry_rolled_back,
    server_restarts,
    everything_restarts_over_an_empty_store,
    unreachable,
    *(move, add, remove) * 2,
    drain,
    change_login,
    change_source,
    erase,
)

# With all three, epochs may start again from the beginning: the store has lost them, its clock was set back, and no
# fleet remembers one. Each run has at most two of them.
_EMPTIED = (store_emptied, everything_restarts_over_an_empty_store)
_RESTARTED = (server_restarts, everything_restarts_over_an_empty_store)
_CLOCK_STEPPED = (store_clock_steps,)
EXCLUDED_TOGETHER = (_EMPTIED, _RESTARTED, _CLOCK_STEPPED)
