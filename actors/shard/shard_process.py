"""The inside of a shard's process: one CameraShard, built from plain settings, called by operation name."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import structlog

from actors import logs
from actors.config.schema import HermesConfig
from actors.errors import ShardNotStarted
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import OPERATIONS
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from models import registry
from models.vision_language_model import ModelError

log = structlog.get_logger(__name__)


class ShardProcess:
    """Hosts a CameraShard for callers in other processes.

    A model that cannot be loaded is reported to every caller as ShardNotStarted. An error raised in the constructor
    would reach the callers as the traceback of the process instead.
    """

    def __init__(self, settings: HermesConfig, store_url: str, log_level: int) -> None:
        logs.log_to_stderr(log_level)
        self._settings_id = settings_id(settings, store_url)
        self._built: CameraShard | ShardNotStarted
        try:
            model = registry.load_model(settings.model, settings.ingest.device)
        except ModelError as error:
            self._built = ShardNotStarted(str(error))
        else:
            checkpoints, self._leases = RedisCheckpointStore(store_url), RedisLeases(store_url)
            # A process whose lease was retired must end; Ray starts another one.
            self._built = CameraShard(model, settings, checkpoints, self._leases, on_retired=lambda: os._exit(1))

    async def call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """The result of one operation of Shard. Raises what the operation raises, and ShardNotStarted."""
        return await self._operation(operation)(*args, **kwargs)

    async def stream(self, operation: str, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The items that one streaming operation of Shard yields. Raises as `call` does."""
        async with aclosing(self._operation(operation)(*args, **kwargs)) as items:
            async for item in items:
                yield item

    async def settings_id(self) -> str:
        """The `settings_id` of the settings that this process was built with."""
        return self._settings_id

    async def close(self) -> None:
        """Saves every memory, releases every camera and stops. Raises ShardNotStarted."""
        if isinstance(self._built, ShardNotStarted):
            raise self._built
        await self._built.close()
        await self._leases.close()

    def _operation(self, name: str) -> Callable[..., Any]:
        # A caller must reach the operations of the interface, and no other attribute.
        if name not in OPERATIONS:
            raise ValueError(
                f"operation {name!r}: a shard has none of this name (known: {', '.join(sorted(OPERATIONS))})"
            )
        operation: Callable[..., Any] = getattr(self._shard, name)
        return operation

    @property
    def _shard(self) -> CameraShard:
        if isinstance(self._built, ShardNotStarted):
            raise self._built
        if not self._built.is_working:
            # A stopped device never recovers, so the process ends, and Ray starts another one.
            log.error("device_stopped")
            os._exit(1)
        return self._built


def settings_id(settings: HermesConfig, store_url: str) -> str:
    """A hash of the settings that shards of one system must share; the number of shards is not among them."""
    shards = dataclasses.replace(settings.shards, count=1, spares=0)
    text = repr((settings.model, settings.memory, settings.ingest, shards, store_url))
    return hashlib.sha256(text.encode()).hexdigest()
