"""A shard in a process of its own, kept alive by Ray."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

from actors import ray_environment  # noqa: F401

# isort: split

import ray
import structlog
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from actors import logs
from actors.config.schema import HermesConfig
from actors.errors import ConfigError, ShardNotStarted, ShardUnavailable
from actors.shard.camera_shard import CameraShard
from actors.shard.interface import Assignment, ShardStatus
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore
from models import registry
from models.vision_language_model import ModelError
from pipeline.answers import AnswerEvent
from pipeline.sources import probe
from pipeline.sources.probe import ProbeResult

log = structlog.get_logger(__name__)

T = TypeVar("T")

_STATUS_TIMEOUT_S = 5.0
_CHANGE_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 15.0
_REVIVE_EVERY_S = 5.0
# Every answer under way is a call, and a shard bears more waiting questions than that.
_MAX_CONCURRENT_CALLS = 1_000


class ShardProcess:
    """What runs in the other process: a CameraShard built from plain settings.

    A model that cannot be loaded is told to every caller: raised here, it would reach them as Ray's traceback.
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
            kept_in, self._leases = RedisCheckpointStore(store_url), RedisLeases(store_url)
            # A process whose lease is renewed no more ends itself: Ray starts another, if it has not yet.
            self._built = CameraShard(model, settings, kept_in, self._leases, on_retired=lambda: os._exit(1))

    async def ask(self, camera: str, question: str, max_answer_tokens: int | None) -> AsyncGenerator[AnswerEvent, None]:
        """See Shard.ask."""
        async with aclosing(self._shard.ask(camera, question, max_answer_tokens=max_answer_tokens)) as events:
            async for event in events:
                yield event

    async def add_camera(self, assignment: Assignment) -> None:
        """See Shard.add_camera."""
        await self._shard.add_camera(assignment)

    async def remove_camera(self, name: str, is_forgotten: bool, successor: str | None) -> None:
        """See Shard.remove_camera."""
        await self._shard.remove_camera(name, is_forgotten=is_forgotten, successor=successor)

    async def drain(self) -> None:
        """See Shard.drain."""
        await self._shard.drain()

    async def settings_id(self) -> str:
        """What it was built with, see settings_id."""
        return self._settings_id

    async def test_camera(self, url: str) -> ProbeResult:
        """See Shard.test_camera."""
        return await self._shard.test_camera(url)

    async def status(self) -> ShardStatus:
        """See Shard.status. A process whose device has stopped ends itself: Ray starts another."""
        if not self._shard.is_working:
            log.error("device_stopped")
            os._exit(1)
        return await self._shard.status()

    async def close(self) -> None:
        """See CameraShard.close."""
        await self._shard.close()
        await self._leases.close()

    @property
    def _shard(self) -> CameraShard:
        if isinstance(self._built, ShardNotStarted):
            raise self._built
        return self._built


ShardActor = ray.remote(ShardProcess)


class RemoteShard:
    """A Shard that lives in a Ray actor. Ray restarts its process; the fleet gives it its cameras back.

    In a cluster that was joined the actor has a name, whoever comes first starts it, and it outlives us.
    """

    def __init__(self, index: int, settings: HermesConfig, store_url: str, *, log_level: int = logging.INFO) -> None:
        self._index = index
        self._settings = settings
        self._store_url = store_url
        self._log_level = log_level
        self._started_at = 0.0
        self._start()

    async def ready(self, timeout_s: float) -> ShardStatus:
        """Waits until the process has loaded its model. Raises ShardNotStarted, ConfigError."""
        try:
            async with asyncio.timeout(timeout_s):
                status: ShardStatus = await self._actor.status.remote()
                await self._require_same_settings()
            return status
        except TimeoutError:
            raise ShardNotStarted(f"shard {self._index}: not ready within {timeout_s:.0f} s") from None
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            raise ShardNotStarted(f"shard {self._index}: {_last_line(error)}") from error

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        stream = self._actor.ask.remote(camera, question, max_answer_tokens)
        is_over = False
        try:
            with self._translated():
                async for reference in stream:
                    yield await reference
            is_over = True
        finally:
            if not is_over:
                ray.cancel(stream)

    async def add_camera(self, assignment: Assignment) -> None:
        await self._call(self._actor.add_camera.remote(assignment), _CHANGE_TIMEOUT_S)

    async def remove_camera(self, name: str, *, is_forgotten: bool, successor: str | None = None) -> None:
        await self._call(self._actor.remove_camera.remote(name, is_forgotten, successor), _CHANGE_TIMEOUT_S)

    async def drain(self) -> None:
        await self._call(self._actor.drain.remote(), _STATUS_TIMEOUT_S)

    async def test_camera(self, url: str) -> ProbeResult:
        timeout_s = probe.max_duration_s(self._settings.ingest) + _STATUS_TIMEOUT_S
        return await self._call(self._actor.test_camera.remote(url), timeout_s)

    async def status(self) -> ShardStatus:
        return await self._call(self._actor.status.remote(), _STATUS_TIMEOUT_S)

    async def close(self) -> None:
        """Lets it save every memory once more and give up every camera. Raises ShardUnavailable."""
        await self._call(self._actor.close.remote(), _CLOSE_TIMEOUT_S)

    async def _require_same_settings(self) -> None:
        if await self._actor.settings_id.remote() != settings_id(self._settings, self._store_url):
            raise ConfigError(
                f"shard {self._index}: it runs in this cluster already, with another model, memory, ingest, shards or "
                "store; end those shards first, or use their configuration"
            )

    def _start(self) -> None:
        shards = self._settings.shards
        shared = {"name": f"shard-{self._index}", "lifetime": "detached", "get_if_exists": True}
        self._started_at = time.monotonic()
        self._actor = ShardActor.options(
            num_cpus=shards.num_cpus,
            num_gpus=shards.num_gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=_MAX_CONCURRENT_CALLS,
            scheduling_strategy="SPREAD",
            **({} if shards.is_local else shared),
        ).remote(self._settings, self._store_url, self._log_level)

    async def _call(self, reference: Awaitable[T], timeout_s: float) -> T:
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the result.
        with self._translated():
            async with asyncio.timeout(timeout_s):
                return await reference

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RayTaskError as error:
            if not isinstance(error.cause, ShardNotStarted):
                raise error.cause from None
            self._revive()
            raise ShardUnavailable(f"shard {self._index}: {error.cause}") from None
        except ActorDiedError as error:
            self._revive()
            raise ShardUnavailable(f"shard {self._index}: {_last_line(error)}") from error
        except RayActorError as error:
            raise ShardUnavailable(f"shard {self._index}: its process is gone and is being restarted") from error
        except TimeoutError as error:
            raise ShardUnavailable(f"shard {self._index}: no answer in time") from error

    def _revive(self) -> None:
        """Ray gives a process up for good if it fails while it starts, e.g. while a dead one still holds the GPU."""
        if time.monotonic() - self._started_at >= _REVIVE_EVERY_S:
            log.warning("shard_started_anew", shard=self._index)
            ray.kill(self._actor)
            self._start()


def settings_id(settings: HermesConfig, store_url: str) -> str:
    """What tells shards of different settings apart, whatever the system around them looks like."""
    shards = dataclasses.replace(settings.shards, count=1, spares=0)
    told = repr((settings.model, settings.memory, settings.ingest, shards, store_url))
    return hashlib.sha256(told.encode()).hexdigest()


def _last_line(error: Exception) -> str:
    """Ray puts a traceback around the reason; a user needs the reason alone."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()
