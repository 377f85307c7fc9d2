"""A whole system on this machine: store, Ray, shards, fleet and router, started in order and ended in reverse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

import structlog
import torch

from actors import embedded_store, ray_cluster, task_cancellation
from actors.config import loading
from actors.config.schema import HermesConfig, ShardsConfig
from actors.errors import ConfigError, ShardNotStarted
from actors.fleet import shared_settings
from actors.fleet.fleet import Fleet
from actors.fleet.redis_registry import RedisRegistry
from actors.fleet.removal import MemoryEraser
from actors.fleet.settings_follower import SettingsFollower
from actors.fleet.shared_settings import RedisSettingsStore, SettingsStore, SharedSettings
from actors.ownership.failure_detector import FailureDetector, current_process
from actors.ownership.leader_election import LeaderElection
from actors.server import server
from actors.server.server import Router
from actors.shard.interface import ShardStatus
from actors.shard.ray_shard import RemoteShard
from cache_store import redis_preflight, store_urls
from cache_store.leases import UNOWNED
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from models import registry as models

log = structlog.get_logger(__name__)

_SHARD_START_TIMEOUT_S = 300.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class System:
    """A running system: the address of its router, HOST:PORT, and its fleet."""

    address: str
    fleet: Fleet


@asynccontextmanager
async def running(
    settings: HermesConfig,
    *,
    log_level: int = logging.INFO,
    on_progress: Progress = lambda _: None,
    has_local_ray: bool = False,
) -> AsyncIterator[System]:
    """Runs a system during the block; at its end every memory is saved whole.

    `has_local_ray`: whether the caller runs a local Ray, large enough for the shards, around this block.
    Raises ServiceError and StoreUnavailable if a part does not come up; then nothing is left running.
    """
    token = settings.auth.token()
    if limitation := models.limitation(settings.model):
        log.warning("model_limited", reason=limitation)
    _require_gpus(settings.shards)
    server.require_free(settings.router)
    async with AsyncExitStack() as stack:
        store_url = stack.enter_context(_store(settings, on_progress))
        await _require_store(store_url)
        leases = RedisLeases(store_url)
        stack.push_async_callback(leases.close)
        failure_detector = FailureDetector(leases, settings.shards.lease.length_s)
        # The observation of unowned cameras starts here, so that it is complete by the time Ray has started: cameras
        # can be claimed only after the store's counter was stable for one lease.
        await failure_detector.expiry(UNOWNED)
        settings_store = RedisSettingsStore(store_url)
        stack.push_async_callback(settings_store.close)
        settings = await _agreed(settings, settings_store)
        shards = settings.shards
        if not has_local_ray:
            on_progress("starting Ray, which runs the shards" if shards.is_local else f"joining Ray at {shards.ray}")
            stack.enter_context(_ray(shards, shows_logs=log_level <= logging.INFO))
        on_progress(f"loading model {settings.model!r} on {shards.count} shard{'s' if shards.count > 1 else ''}")
        ready_shards = await _start_shards(settings, store_url, log_level)
        if shards.is_local:
            stack.push_async_callback(_close, ready_shards)
        registry = RedisRegistry(store_url)
        stack.push_async_callback(registry.close)
        checkpoints = RedisCheckpointStore(store_url)
        stack.push_async_callback(checkpoints.close)
        election = LeaderElection(leases, failure_detector, shards.lease, process=current_process())
        fleet = Fleet(
            ready_shards,
            failure_detector,
            registry,
            MemoryEraser(leases.fence, checkpoints.delete),
            is_leader=election.is_leader,
            spares=shards.spares,
            open_timeout_s=settings.ingest.open_timeout_s + 2.0,
        )

        def resize(count: int, spares: int) -> None:
            new = range(len(ready_shards), count)
            ready_shards.extend(RemoteShard(index, settings, store_url, log_level=log_level) for index in new)
            fleet.resize(ready_shards[:count], spares)

        if not shards.is_local:
            follower = SettingsFollower(settings_store, SharedSettings.of(settings), resize)
            stack.push_async_callback(task_cancellation.end, asyncio.create_task(follower.run()))
        address = await stack.enter_async_context(_serving(fleet, election, settings, token))
        log.info("serving", address=address, shards=shards.count, model=settings.model)
        try:
            yield System(address, fleet)
        finally:
            on_progress("saving memories, ending all processes")


async def _agreed(settings: HermesConfig, store: SettingsStore) -> HermesConfig:
    """The settings with the numbers of shards that all servers over the same cluster use. Raises ConfigError."""
    if settings.shards.is_local:
        return settings  # the shards end with this server, so nobody else has to agree
    own = SharedSettings.of(settings)
    agreed = shared_settings.adopted(own, await store.agree(own))
    shards = replace(settings.shards, count=agreed.count, spares=agreed.spares, settings_version=agreed.version)
    return replace(settings, shards=shards)


async def _require_store(store_url: str) -> None:
    """Raises StoreUnavailable, StoreUnfit. Warns if the store keeps nothing over a restart: memories would be lost."""
    store = await redis_preflight.require(store_url)
    if not store.is_durable:
        log.warning("store_not_durable", store=store_urls.redact(store_url), reason=store.description)


@contextmanager
def _store(settings: HermesConfig, on_progress: Progress) -> Iterator[str]:
    """The URL of the configured store; an embedded store runs during the block."""
    folder = loading.embedded_store_folder(settings)
    if folder is None:
        on_progress("connecting to the store of memories and leases")
        yield settings.store
        return
    on_progress(f"starting the store of memories and leases in {folder}")
    with embedded_store.running(folder) as url:
        yield url


def _ray(shards: ShardsConfig, *, shows_logs: bool) -> AbstractContextManager[None]:
    if not shards.is_local:
        return ray_cluster.joined(shards.ray, shows_logs=shows_logs)
    return ray_cluster.running(
        num_cpus=shards.count * shards.num_cpus, num_gpus=shards.count * shards.num_gpus, shows_logs=shows_logs
    )


def _require_gpus(shards: ShardsConfig) -> None:
    """Ray does not check the number of GPUs that it is given, and would wait without end for missing ones."""
    if not shards.is_local:
        return
    available = torch.cuda.device_count()
    if shards.count * shards.num_gpus > available:
        raise ConfigError(
            f"shards.count {shards.count} with shards.num_gpus {shards.num_gpus:g} each: this machine has {available} "
            "GPUs; lower one of the two values"
        )


async def _start_shards(settings: HermesConfig, store_url: str, log_level: int) -> list[RemoteShard]:
    shards = [RemoteShard(index, settings, store_url, log_level=log_level) for index in range(settings.shards.count)]
    starts = [asyncio.create_task(shard.ready(_SHARD_START_TIMEOUT_S)) for shard in shards]
    if settings.shards.is_local:
        await asyncio.wait(starts)
        for index, start in enumerate(starts):
            log.info("shard_up", shard=index, pid=start.result().pid)
    else:
        await _first_of(starts)
    return shards


async def _first_of(starts: Sequence[asyncio.Task[ShardStatus]]) -> None:
    """Waits for the first shard of a cluster. The fleet uses the others as soon as they are up.

    Raises ConfigError if a shard runs with other settings, ShardNotStarted if no shard starts.
    """
    for start in asyncio.as_completed(starts):
        try:
            log.info("shard_up", pid=(await start).pid)
            return
        except ShardNotStarted as error:
            log.warning("shard_down", reason=str(error))
            last = error
    raise last


async def _close(shards: Sequence[RemoteShard]) -> None:
    """Closes all shards at the same time; each saves its memories whole."""
    results = await asyncio.gather(*(shard.close() for shard in shards), return_exceptions=True)
    for index, result in enumerate(results):
        if isinstance(result, BaseException):
            log.warning("shard_not_closed", shard=index, reason=str(result))


@asynccontextmanager
async def _serving(
    fleet: Fleet, election: LeaderElection, settings: HermesConfig, token: str | None
) -> AsyncIterator[str]:
    """Runs the fleet with the configured cameras, the election and the router; yields the router's address."""
    for spec in settings.cameras:
        fleet.add_configured_camera(spec)
    await fleet.remove_unconfigured()
    await election.campaign()
    await fleet.reconcile()
    router = Router(fleet, settings.router, token)
    address = await router.start()
    loops = [asyncio.create_task(loop) for loop in (election.run(), fleet.run(), router.report_health())]
    try:
        yield address
    finally:
        await router.stop()
        await task_cancellation.end(*loops)
