"""A whole system on this machine: store, Ray, shards, fleet and router, started in order and ended in reverse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from actors import ray_cluster, shard_set, store_clients, task_cancellation
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.fleet import server_presence, shared_settings
from actors.fleet.configured_cameras import Precedence
from actors.fleet.fleet import Fleet
from actors.fleet.removal import MemoryEraser
from actors.fleet.scaler import FleetSize
from actors.fleet.settings_follower import SettingsFollower
from actors.fleet.shard_numbers import InMemoryNumbersStore, NumbersStore, ShardNumbers
from actors.fleet.shared_settings import SettingsStore, SharedSettings
from actors.metrics.endpoint import ServerMetrics
from actors.ownership.failure_detector import FailureDetector, current_process
from actors.ownership.leader_election import IsLeader, LeaderElection
from actors.server.server import Router
from actors.server.startup import Startup
from actors.shard_set import ShardSet
from actors.store_clients import StoreClients
from actors.tracing.tracer import tracer_of
from cache_store.leases import UNOWNED
from models import catalogue

log = structlog.get_logger(__name__)

_HEAD_WAIT_S = 90.0  # it may start at the same moment as this server

Progress = Callable[[str], None]
PrecedenceNow = Callable[[], Precedence]


@dataclass(frozen=True, slots=True)
class System:
    """A running system: the address of its router, HOST:PORT, its fleet, and the address of its metrics."""

    address: str
    fleet: Fleet
    metrics_address: str | None = None


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
    _require_startable(settings)
    startup = Startup()

    def show(progress: str) -> None:
        startup.wait_for(progress)
        on_progress(progress)

    async with AsyncExitStack() as stack:
        metrics = ServerMetrics(settings.metrics, model=settings.model)
        router = Router(startup, settings.router, token, metrics, tracer_of(settings.traces, "hermes-router"))
        stack.push_async_callback(router.stop)
        address = await router.start()
        log.info("listening", address=address, health=router.health_address, metrics=metrics.address)
        store = await stack.enter_async_context(store_clients.opened(settings, show))
        failure_detector = FailureDetector(store.leases, settings.shards.lease.length_s)
        # The observation of unowned cameras starts here, so that it is complete by the time Ray has started: cameras
        # can be claimed only after the store's counter was stable for one lease.
        await failure_detector.expiry(UNOWNED)
        version = settings.shards.settings_version
        settings = await _agreed(settings, store.settings)
        shards = settings.shards
        if not has_local_ray:
            await ray_cluster.enter(stack, _ray(shards, show, shows_logs=log_level <= logging.INFO))
        processes = ShardSet(settings, store.url, log_level=log_level)
        size = await stack.enter_async_context(_started(processes, settings, store, startup, show))
        election = LeaderElection(store.leases, failure_detector, shards.lease, process=current_process())
        fleet = _fleet(settings, size, failure_detector, store, election.is_leader)
        await election.campaign()
        fleet.configure(settings.cameras, await _precedence(settings, version, store.settings, election.is_leader))
        await stack.enter_async_context(_following(store.settings, settings, fleet, election, processes))
        if not shards.is_local:
            await stack.enter_async_context(server_presence.announced(store.url, address))
        await stack.enter_async_context(_serving(fleet, election, router, startup, on_progress))
        log.info("serving", address=address, shards=size.numbers.started, model=settings.model)
        yield System(address, fleet, metrics.address)


@asynccontextmanager
async def _started(
    processes: ShardSet, settings: HermesConfig, store: StoreClients, startup: Startup, on_progress: Progress
) -> AsyncIterator[FleetSize]:
    """Starts the shards. Those of a local Ray end with the block, and so do their numbers. Raises ServiceError."""
    shards = settings.shards
    numbers_store: NumbersStore = InMemoryNumbersStore() if shards.is_local else store.numbers
    numbers = ShardNumbers.of(shards).merged(await numbers_store.read())
    on_progress(f"loading model {settings.model!r} on {numbers.started} shard{'s' if numbers.started > 1 else ''}")
    try:
        await processes.start(numbers, startup.wait_for)
        yield FleetSize(
            pool=processes,
            numbers=numbers,
            store=numbers_store,
            scaling=shards.scaling,
            slots=shards.device.max_cameras,
            most=shards.most if shards.is_local else None,
            generation=processes.generation,
        )
    finally:
        if shards.is_local:
            await processes.close()


def _fleet(
    settings: HermesConfig, size: FleetSize, detector: FailureDetector, store: StoreClients, is_leader: IsLeader
) -> Fleet:
    return Fleet(
        size,
        detector,
        store.registry,
        MemoryEraser(store.leases.fence, store.checkpoints.delete),
        is_leader=is_leader,
        open_timeout_s=settings.ingest.open_timeout_s + 2.0,
    )


def _require_startable(settings: HermesConfig) -> None:
    """Checks what can be checked before slow parts of the system start. Raises ServiceError."""
    if limitation := catalogue.limitation(settings.model):
        log.warning("model_limited", reason=limitation)
    shard_set.require_gpus(settings.shards)


async def _agreed(settings: HermesConfig, store: SettingsStore) -> HermesConfig:
    """The settings with the numbers of shards that all servers over the same cluster use. Raises ConfigError.

    Writes nothing: a server that does not come up has changed nothing for the others.
    """
    if settings.shards.is_local:
        return settings  # the shards end with this server, so nobody else has to agree
    own = SharedSettings.of(settings)
    agreed = shared_settings.usable(own, await store.newest())
    if agreed is own:
        return settings
    shards = replace(
        settings.shards,
        count=None,
        min=agreed.limits.min,
        max=agreed.limits.max,
        spares=agreed.limits.spares,
        settings_version=agreed.version,
    )
    return replace(settings, shards=shards)


async def _precedence(settings: HermesConfig, version: int, store: SettingsStore, is_leader: IsLeader) -> PrecedenceNow:
    """Writes the settings, where `version`, that of the file, is the newest. -> what the file may do to cameras

    Raises ConfigError if another server wrote others of this version meanwhile. The shards of a local Ray end with this
    server: while it leads, no other server has cameras in the store.
    """
    if settings.shards.is_local:
        return lambda: Precedence.NEWEST if is_leader() else Precedence.FOLLOWING
    own = SharedSettings.of(settings)
    agreement = await store.agree(own)
    shared_settings.usable(own, agreement.newest)
    precedence = agreement.precedence(version)
    return lambda: precedence


@asynccontextmanager
async def _following(
    store: SettingsStore, settings: HermesConfig, fleet: Fleet, election: LeaderElection, shards: ShardSet
) -> AsyncIterator[None]:
    """Takes over newer shared settings during the block. The shards of a local Ray have no other server.

    An outdated server answers questions until it is restarted, and leaves leading and starting of shards to newer ones.
    """
    if settings.shards.is_local:
        yield
        return

    def lead(may_lead: bool) -> None:
        election.is_candidate = may_lead
        shards.let_start(may_start=may_lead)
        fleet.expect(shards.generation if may_lead else "")

    def adopt(newest: SharedSettings) -> None:
        lead(True)
        fleet.adopt(newest.limits)

    own = SharedSettings.of(settings)
    following = asyncio.create_task(SettingsFollower(store, own, adopt, on_outdated=lambda: lead(False)).run())
    try:
        yield
    finally:
        await task_cancellation.end(following)


def _ray(shards: ShardsConfig, on_progress: Progress, *, shows_logs: bool) -> AbstractContextManager[None]:
    on_progress("starting Ray, which runs the shards" if shards.is_local else f"joining Ray at {shards.ray}")
    if not shards.is_local:
        return ray_cluster.joined(shards.ray, shows_logs=shows_logs, wait_s=_HEAD_WAIT_S)
    return ray_cluster.running(
        num_cpus=shards.most * shards.num_cpus, num_gpus=shards.most * shards.num_gpus, shows_logs=shows_logs
    )


@asynccontextmanager
async def _serving(
    fleet: Fleet, election: LeaderElection, router: Router, startup: Startup, on_progress: Progress
) -> AsyncIterator[None]:
    """Runs the fleet and the election; the router serves the fleet."""
    startup.wait_for("the first look at all shards and cameras")
    await fleet.reconcile()
    startup.finish(fleet, election.has_role)
    loops = [asyncio.create_task(loop) for loop in (election.run(), fleet.run(), router.report_health())]
    try:
        yield
    finally:
        on_progress("saving memories, ending all processes")
        await router.stop()
        await task_cancellation.end(*loops)
