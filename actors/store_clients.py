"""The store of a system: started or reached, checked, and read and written by one client for each kind of record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog

from actors import embedded_store
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.fleet.redis_registry import RedisRegistry
from actors.fleet.shard_numbers import RedisNumbersStore
from actors.fleet.shared_settings import RedisSettingsStore
from cache_store import redis_preflight, store_urls
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreClients:
    """Clients of one store, each with a connection of its own. url: with the password."""

    url: str
    leases: RedisLeases
    settings: RedisSettingsStore
    registry: RedisRegistry
    checkpoints: RedisCheckpointStore
    numbers: RedisNumbersStore


@asynccontextmanager
async def opened(settings: HermesConfig, on_progress: Callable[[str], None]) -> AsyncIterator[StoreClients]:
    """The clients of the configured store during the block; an embedded store runs as long.

    Raises StoreUnavailable, StoreUnfit, ServiceError.
    """
    async with AsyncExitStack() as stack:
        url = stack.enter_context(_running_store(settings, on_progress))
        await _require_store(url)
        clients = StoreClients(
            url,
            RedisLeases(url),
            RedisSettingsStore(url),
            RedisRegistry(url),
            RedisCheckpointStore(url),
            RedisNumbersStore(url),
        )
        for client in (clients.leases, clients.settings, clients.registry, clients.checkpoints, clients.numbers):
            stack.push_async_callback(client.close)
        yield clients


@contextmanager
def _running_store(settings: HermesConfig, on_progress: Callable[[str], None]) -> Iterator[str]:
    """The URL of the configured store; an embedded store runs during the block."""
    folder = loading.embedded_store_folder(settings)
    if folder is None:
        on_progress("connecting to the store of memories and leases")
        yield settings.store
        return
    on_progress(f"starting the store of memories and leases in {folder}")
    with embedded_store.running(folder) as url:
        yield url


async def _require_store(store_url: str) -> None:
    """Raises StoreUnavailable, StoreUnfit. Warns if the store keeps nothing over a restart: memories would be lost."""
    store = await redis_preflight.require(store_url)
    if not store.is_durable:
        log.warning("store_not_durable", store=store_urls.redact(store_url), reason=store.description)
