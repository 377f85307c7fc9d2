"""A whole system on this machine: store, Ray, shards, fleet and router, started in order and ended in reverse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
import torch

from actors import embedded_store, ray_cluster, task_cancellation
from actors.config import loading
from actors.config.schema import HermesConfig, ShardsConfig
from actors.errors import ConfigError, ShardNotStarted
from actors.fleet.fleet import Fleet
from actors.fleet.registry import RedisRegistry
from actors.ownership import failure_detector
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from actors.server import server
from actors.server.server import Router
from actors.shard.interface import ShardStatus
from actors.shard.ray_shard import RemoteShard
from cache_store import redis_preflight
from cache_store.leases import UNOWNED
from cache_store.redis_leases import RedisLeases

log = structlog.get_logger(__name__)

_SHARD_START_TIMEOUT_S = 300.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class System:
    """A running system: where it listens, and its fleet."""

    address: str
    fleet: Fleet


@asynccontextmanager
async def running(
    settings: HermesConfig, *, log_level: int = logging.INFO, on_progress: Progress = lambda _: None
) -> AsyncIterator[System]:
    """A system for the time of the block; at its end every memory is saved once more.

    Raises ServiceError and StoreUnavailable if a part does not come up; then nothing is left running.
    """
    token = settings.auth.token()
    _require_gpus(settings.shards)
    server.require_free(settings.router)
    async with AsyncExitStack() as stack:
        on_progress("starting the store")
        store_url = stack.enter_context(_store(settings))
        await redis_preflight.require(store_url)
        leases = RedisLeases(store_url)
        stack.push_async_callback(leases.close)
        owners = FailureDetector(leases, settings.shards.lease.length_s)
        # Watched from now on, so that while Ray starts the store proves that it has not just lost its memory.
        await owners.expiry(UNOWNED)
        shards = settings.shards
        on_progress("starting Ray" if shards.is_local else f"joining Ray at {shards.ray}")
        stack.enter_context(_ray(shards, shows_logs=log_level <= logging.INFO))
        on_progress(f"loading {settings.model} on {shards.count} shard{'s' if shards.count > 1 else ''}")
        ready = await _start_shards(settings, store_url, log_level)
        if shards.is_local:
            stack.push_async_callback(_close, ready)
        known = RedisRegistry(store_url)
        stack.push_async_callback(known.close)
        bid = LeaderElection(leases, owners, shards.lease, process=failure_detector.current_process())
        held = Fleet(
            ready,
            owners,
            known,
            is_leader=bid.is_leader,
            spares=shards.spares,
            open_timeout_s=settings.ingest.open_timeout_s + 2.0,
        )
        address = await stack.enter_async_context(_serving(held, bid, settings, token))
        log.info("serving", address=address, shards=shards.count, model=settings.model)
        yield System(address, held)


@contextmanager
def _store(settings: HermesConfig) -> Iterator[str]:
    """The URL of the store, of our own if the configuration says so."""
    folder = loading.embedded_store_folder(settings)
    if folder is None:
        yield settings.store
        return
    with embedded_store.running(folder) as url:
        yield url


def _ray(shards: ShardsConfig, *, shows_logs: bool) -> AbstractContextManager[None]:
    if not shards.is_local:
        return ray_cluster.joined(shards.ray, shows_logs=shows_logs)
    return ray_cluster.running(
        num_cpus=shards.count * shards.num_cpus, num_gpus=shards.count * shards.num_gpus, shows_logs=shows_logs
    )


def _require_gpus(shards: ShardsConfig) -> None:
    """Ray would believe the number it is given, and wait for ever for the rest."""
    if not shards.is_local:
        return
    there = torch.cuda.device_count()
    if shards.count * shards.num_gpus > there:
        raise ConfigError(
            f"shards.count {shards.count} with shards.num_gpus {shards.num_gpus:g} each: this machine has {there} GPUs"
        )


async def _start_shards(settings: HermesConfig, store_url: str, log_level: int) -> list[RemoteShard]:
    shards = [RemoteShard(index, settings, store_url, log_level=log_level) for index in range(settings.shards.count)]
    starting = [asyncio.create_task(one.ready(_SHARD_START_TIMEOUT_S)) for one in shards]
    if settings.shards.is_local:
        await asyncio.wait(starting)
        for index, one in enumerate(starting):
            log.info("shard_up", shard=index, pid=one.result().pid)
    else:
        await _first_of(starting)
    return shards


async def _first_of(starting: Sequence[asyncio.Task[ShardStatus]]) -> None:
    """Waits for one shard of a cluster. Others may lack a node or be restarted: the fleet takes them in when they come.

    Raises ConfigError if one runs with other settings, and what became of the last if none comes.
    """
    for ended in asyncio.as_completed(starting):
        try:
            log.info("shard_up", pid=(await ended).pid)
            return
        except ShardNotStarted as error:
            log.warning("shard_down", reason=str(error))
            last = error
    raise last


async def _close(shards: Sequence[RemoteShard]) -> None:
    """All at once; each saves every memory once more."""
    results = await asyncio.gather(*(one.close() for one in shards), return_exceptions=True)
    for index, result in enumerate(results):
        if isinstance(result, BaseException):
            log.warning("shard_not_closed", shard=index, reason=str(result))


@asynccontextmanager
async def _serving(held: Fleet, bid: LeaderElection, settings: HermesConfig, token: str | None) -> AsyncIterator[str]:
    """The router and the fleet's own loop, with the cameras of the configuration."""
    for spec in settings.cameras:
        held.add_configured_camera(spec)
    await held.remove_unconfigured()
    await bid.campaign()
    await held.reconcile()
    door = Router(held, settings.router, token)
    address = await door.start()
    loops = [asyncio.create_task(one) for one in (bid.run(), held.run(), door.report_health())]
    try:
        yield address
    finally:
        await door.stop()
        await task_cancellation.end(*loops)
