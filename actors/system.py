"""A whole system on this machine: store, Ray, shards, fleet and router, started in order and ended in reverse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
import torch

from actors import config, embedded_store, fleet, local_ray, registry, remote, router, succession
from actors.errors import ConfigError
from cache_store import leases, redis_fitness, redis_leases

log = structlog.get_logger(__name__)

_SHARD_START_TIMEOUT_S = 300.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class System:
    """A running system: where it listens, and its fleet."""

    address: str
    fleet: fleet.Fleet


@asynccontextmanager
async def running(
    settings: config.HermesConfig, *, log_level: int = logging.INFO, on_progress: Progress = lambda _: None
) -> AsyncIterator[System]:
    """A system for the time of the block; at its end every memory is saved once more.

    Raises ServiceError and StoreUnavailable if a part does not come up; then nothing is left running.
    """
    token = settings.auth.token()
    _require_gpus(settings.shards)
    router.require_free(settings.router)
    async with AsyncExitStack() as stack:
        on_progress("starting the store")
        store_url = stack.enter_context(_store(settings))
        await redis_fitness.require(store_url)
        granted_by = redis_leases.RedisLeases(store_url)
        stack.push_async_callback(granted_by.close)
        owners = succession.Succession(granted_by, settings.shards.lease.length_s)
        # Watched from now on, so that while Ray starts the store proves that it has not just lost its memory.
        await owners.gone(leases.NOBODY)
        on_progress("starting Ray")
        shards = settings.shards
        stack.enter_context(
            local_ray.running(
                num_cpus=shards.count * shards.num_cpus,
                num_gpus=shards.count * shards.num_gpus,
                shows_logs=log_level <= logging.INFO,
            )
        )
        on_progress(f"loading {settings.model} on {shards.count} shard{'s' if shards.count > 1 else ''}")
        ready = await _start_shards(settings, store_url, log_level)
        known = registry.RedisRegistry(store_url)
        stack.push_async_callback(known.close)
        held = fleet.Fleet(ready, owners, known, open_timeout_s=settings.ingest.open_timeout_s + 2.0)
        stack.push_async_callback(held.close)
        address = await stack.enter_async_context(_serving(held, settings, token))
        log.info("serving", address=address, shards=shards.count, model=settings.model)
        yield System(address, held)


@contextmanager
def _store(settings: config.HermesConfig) -> Iterator[str]:
    """The URL of the store, of our own if the configuration says so."""
    folder = settings.embedded_store_folder
    if folder is None:
        yield settings.store
        return
    with embedded_store.running(folder) as url:
        yield url


def _require_gpus(shards: config.ShardsConfig) -> None:
    """Ray would believe the number it is given, and wait for ever for the rest."""
    there = torch.cuda.device_count()
    if shards.count * shards.num_gpus > there:
        raise ConfigError(
            f"shards.count {shards.count} with shards.num_gpus {shards.num_gpus:g} each: this machine has {there} GPUs"
        )


async def _start_shards(settings: config.HermesConfig, store_url: str, log_level: int) -> list[remote.RemoteShard]:
    shards = [
        remote.RemoteShard(index, settings, store_url, log_level=log_level) for index in range(settings.shards.count)
    ]
    for index, status in enumerate(await asyncio.gather(*(one.ready(_SHARD_START_TIMEOUT_S) for one in shards))):
        log.info("shard_up", shard=index, pid=status.pid)
    return shards


@asynccontextmanager
async def _serving(held: fleet.Fleet, settings: config.HermesConfig, token: str | None) -> AsyncIterator[str]:
    """The router and the fleet's own loop, with the cameras of the configuration."""
    for spec in settings.cameras:
        held.expect(spec)
    await held.expect_remembered()
    await held.reconcile()
    door = router.Router(held, settings.router, token)
    address = await door.start()
    loops = [asyncio.create_task(held.run()), asyncio.create_task(door.report_health())]
    try:
        yield address
    finally:
        await door.stop()
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)
