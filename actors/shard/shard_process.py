"""The inside of a shard's process: one CameraShard, built from plain settings, called by operation name."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog

from actors import logs
from actors.errors import ShardEnded, ShardNotStarted
from actors.shard import contract, process_cost, shard_device, termination
from actors.shard.camera_shard import CameraShard
from actors.shard.departure import Departure
from actors.shard.interface import ShardStatus
from actors.tracing.tracer import Tracer, tracer_of
from cache_store import store_urls
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from models import registry
from models.errors import ModelError
from models.vision_language_model import VideoLanguageModel
from pipeline.network.redaction import REDACTOR

log = structlog.get_logger(__name__)

_LAST_EVENTS_S = 0.2  # Ray sends the last events of answers in the background, and tells nobody when it has


class ShardProcess:
    """Hosts a CameraShard for callers in other processes.

    Ray keeps the arguments of the constructor, in clear text, to restart the process. So the URL of the store, which
    may hold a password, comes with each call instead; the first one connects the shard to its store.
    A model that cannot be loaded is reported to every caller as ShardNotStarted. An error raised in the constructor
    would reach the callers as the traceback of the process instead. The methods and their parameters never change: they
    are what versions of hermes have in common.
    """

    def __init__(self, settings: str, store_id: str, generation: str, log_level: int, index: int) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        termination.on_sigterm(self._end)
        self._settings, self._store_id, self._generation = contract.decode_settings(settings), store_id, generation
        self._index, self._is_closing = index, False
        logs.log_to_stderr(log_level, self._settings.logs.format, shard=index, camera_fields=self._camera_fields)
        self._shard: CameraShard | None = None
        self._tracer: Tracer | None = None
        self._leaving: asyncio.Future[Departure] | None = None
        self._leases: RedisLeases | None = None
        self._model: VideoLanguageModel | ShardNotStarted
        try:
            shards, device = self._settings.shards, self._settings.ingest.device
            self._model = registry.load_model(
                self._settings.model, device, shards.weights, num_gpus=shards.gpus_of_model
            )
        except ModelError as error:
            self._model = ShardNotStarted(str(error))

    async def reply_to(self, store_url: str, operation: str, message: str) -> str:
        """The reply to one operation of Shard; see `contract`."""
        try:
            result = await self._operation(store_url, operation, message)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            return _failed(operation, error)
        if isinstance(result, ShardStatus):
            cost = dataclasses.asdict(process_cost.of_this_process())
            result = dataclasses.replace(result, generation=self._generation, **cost)
        return contract.encode_result(operation, result)

    async def events_of(self, store_url: str, operation: str, message: str) -> AsyncGenerator[str, None]:
        """The events that one streaming operation of Shard yields; see `contract`."""
        try:
            async with aclosing(self._operation(store_url, operation, message)) as events:
                async for event in events:
                    yield contract.encode_event(event)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            yield _failed(operation, error)

    async def store_id(self) -> str:
        """The `store_id` of the store that this process was started for."""
        return self._store_id

    async def leave(self, grace_s: float, may_move: bool) -> str:
        """Gives every camera up within the grace period; the process stays. -> what became of them, as JSON"""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._leave(grace_s, may_move=may_move))
        return json.dumps(dataclasses.asdict(await asyncio.shield(self._leaving)))

    async def num_cameras(self) -> int:
        """How many cameras the shard has."""
        return 0 if self._shard is None else len((await self._shard.status()).cameras)

    async def _leave(self, grace_s: float, *, may_move: bool) -> Departure:
        if self._shard is None:
            self._is_closing = True  # it has no camera, and shall get none
            return Departure()
        if not self._shard.is_working:
            return Departure()
        return await self._shard.leave(grace_s, may_move=may_move)

    async def _leave_and_end(self) -> None:
        """What SIGTERM does. Ray starts the process anew, here or elsewhere."""
        try:
            await self.leave(self._settings.shards.grace_s, may_move=True)
            await self._send_spans()
            await asyncio.sleep(_LAST_EVENTS_S)
        finally:
            os._exit(1)

    async def close(self) -> None:
        """Saves every memory, releases every camera, sends the last spans and stops. Later calls raise ShardEnded."""
        self._is_closing = True
        if self._shard is not None and self._leases is not None:
            await self._shard.close()
            await self._leases.close()
        await self._send_spans()

    def _camera_fields(self, camera: str) -> dict[str, object]:
        return {} if self._shard is None else self._shard.log_fields(camera)

    async def _send_spans(self) -> None:
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)

    def _end(self) -> None:
        """Called on the main thread at SIGTERM; the event loop runs in another one."""
        if self._loop is None:  # no call has come yet, so there is no camera
            os._exit(1)
        asyncio.run_coroutine_threadsafe(self._leave_and_end(), self._loop)

    def _operation(self, store_url: str, operation: str, message: str) -> Any:
        arguments = contract.decode_call(operation, message)
        return getattr(self._connected(store_url), operation)(**arguments)

    def _connected(self, store_url: str) -> CameraShard:
        if isinstance(self._model, ShardNotStarted):
            raise self._model
        if self._is_closing:  # its device has stopped, or will; that is no failure
            raise ShardEnded(f"shard {self._index}: its process was told to end")
        if self._shard is None:
            REDACTOR.remember(store_url)
            self._leases = RedisLeases(store_url)
            self._loop = asyncio.get_running_loop()
            self._tracer = self._tracer or tracer_of(self._settings.traces, "hermes-shard")
            try:
                # A process whose lease was retired must end; Ray starts another one.
                self._shard = CameraShard(
                    shard_device.of_model(self._model, self._settings),
                    self._settings,
                    RedisCheckpointStore(store_url),
                    self._leases,
                    on_retired=lambda: os._exit(1),
                    tracer=self._tracer,
                )
            except (ModelError, MemoryError, RuntimeError) as error:
                # The slots do not fit the device, or the budget does not fit the model.
                raise ShardNotStarted(f"{self._settings.shards.device.max_cameras} slots: {error}") from error
        if not self._shard.is_working:
            # A stopped device never recovers, so the process ends, and Ray starts another one.
            log.error("device_stopped")
            os._exit(1)
        return self._shard


def store_id(store_url: str) -> str:
    """A hash of where a store is, without its password: Ray keeps it, and whoever reads it could try passwords."""
    return hashlib.sha256(store_urls.redact(store_url).encode()).hexdigest()


def _failed(operation: str, error: Exception) -> str:
    if not contract.is_foreseen(error):
        log.error("operation_failed", operation=operation, exc_info=error)
    return contract.encode_error(error)
