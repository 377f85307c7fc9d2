"""A shard in a process of its own, kept alive by Ray."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from actors import ray_environment  # noqa: F401

# isort: split

import ray
import structlog
from ray.exceptions import RayError

from actors import generation
from actors.config.schema import HermesConfig
from actors.config.shards import ShardPlacement
from actors.errors import ConfigError, ServiceError, ShardEnded, ShardNotStarted, ShardUnavailable
from actors.shard import contract, ray_errors, shard_process, starting
from actors.shard.interface import ForwardedShard, ShardStatus, Timeout
from actors.shard.shard_process import ShardProcess
from pipeline.answers import Done

log = structlog.get_logger(__name__)

T = TypeVar("T")

_CLOSE_MARGIN_S = 10.0  # for ending streams, beyond the grace period in which memories are saved
_REVIVE_EVERY_S = 5.0
_START_POLL_S = 1.0
_NAME_POLL_S = 0.05
# Ray's default fills a node to half of its resources before it takes another one.
_STRATEGIES = {ShardPlacement.SPREAD: "SPREAD", ShardPlacement.PACK: "DEFAULT"}
# Every running answer is a call, and the shard's own limit of waiting questions must be reached before this one.
_MAX_CONCURRENT_CALLS = 1_000

ShardActor = ray.remote(ShardProcess)


class RemoteShard(ForwardedShard):
    """A Shard that lives in a Ray actor. Ray restarts its process; then the fleet adds its cameras again.

    In a cluster that was joined the actor has a name: the first system starts it, and it outlives that system. It may
    be of another generation than this object would start.

    is_wanted: whether another process is started when Ray has given this one up. may_start: whether this object starts
    processes; if not, it uses those that a newer server started.
    """

    def __init__(
        self,
        index: int,
        settings: HermesConfig,
        store_url: str,
        *,
        log_level: int = logging.INFO,
        may_start: bool = True,
    ) -> None:
        self._index = index
        self._settings = settings.for_shards()
        self._generation = generation.of(settings)
        self._store_url = store_url
        self._log_level = log_level
        self._started_at = 0.0
        self._first_answer: asyncio.Future[str] | None = None
        self.is_wanted, self.may_start = True, may_start
        self._actor: Any = None
        self._start()

    async def ready(self, timeout_s: float) -> ShardStatus:
        """Waits until the process has loaded its model. Raises ShardNotStarted, ConfigError."""
        self._require_same_version()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._actor.reply_to.remote(self._store_url, "status", contract.encode_call("status"))
                await self._require_same_store()
            status: ShardStatus = contract.decode_result("status", reply)
            return status
        except TimeoutError:
            raise ShardNotStarted(f"shard {self._index}: not ready within {timeout_s:.0f} s") from None
        except (RayError, ValueError) as error:
            raise ShardNotStarted(f"shard {self._index}: {ray_errors.last_line(error)}") from error

    async def close(self) -> None:
        """Saves every memory of the shard, releases every camera and stops it. Raises ShardUnavailable."""
        await self._awaited(lambda: self._actor.close.remote(), self._settings.shards.grace_s + _CLOSE_MARGIN_S)

    async def end(self) -> None:
        """Saves what the shard has, if it has started and answers, and ends its process for good."""
        self.is_wanted = self.may_start = False
        with contextlib.suppress(ShardUnavailable):
            await self._require_started()  # one that another server started may not have been asked yet
        if self._has_started:
            try:
                await self.close()
            except ServiceError as error:
                log.warning("shard_not_closed", shard=self._index, reason=str(error))
        if self._actor is not None:
            ray.kill(self._actor)
            await self._await_end()

    async def replace(self) -> None:
        """Ends the process as `end` does, and starts one of this object's generation. Raises ShardUnavailable."""
        await self.end()
        self.is_wanted = self.may_start = True
        self._start()

    async def _await_end(self) -> None:
        """Until the name is free: before that a new process would be the one that ends. Raises ShardUnavailable."""
        deadline_s = time.monotonic() + _CLOSE_MARGIN_S
        # Another server may start the next one as soon as the name is free.
        while not self._settings.shards.is_local and self._present() == self._actor:
            if time.monotonic() > deadline_s:
                raise ShardUnavailable(f"shard {self._index}: Ray has not ended its process")
            await asyncio.sleep(_NAME_POLL_S)  # Ray tells nobody when a name is free

    async def _call(self, operation: str, timeout_s: Timeout, /, *args: object, **kwargs: object) -> Any:
        await self._require_started()
        limit_s = timeout_s if isinstance(timeout_s, float) else timeout_s(self._settings.ingest)
        message = contract.encode_call(operation, *args, **kwargs)
        reply = await self._awaited(lambda: self._actor.reply_to.remote(self._store_url, operation, message), limit_s)
        with self._translated():
            return contract.decode_result(operation, reply)

    async def _stream(self, operation: str, /, *args: object, **kwargs: object) -> AsyncGenerator[Any, None]:
        await self._require_started()
        message = contract.encode_call(operation, *args, **kwargs)
        with self._translated():
            references = self._actor.events_of.remote(self._store_url, operation, message)
        is_over = False
        try:
            with self._translated():
                async for reference in references:
                    if (event := contract.decode_event(await reference)) is not None:
                        is_over = isinstance(event, Done)
                        yield event
        finally:
            if not is_over:
                ray.cancel(references)

    @property
    def _has_started(self) -> bool:
        return self._first_answer is not None and self._first_answer.done()

    async def _require_started(self) -> None:
        """Raises ShardUnavailable while the process has not started for the first time, e.g. for want of a node.

        One call waits for that; Ray would keep each further call until the process runs.
        """
        if self._actor is None:
            self._start()
        if self._actor is None:
            raise ShardUnavailable(f"shard {self._index}: a server of the newest settings has yet to start it")
        if self._first_answer is None:
            self._first_answer = asyncio.ensure_future(self._actor.store_id.remote())
            self._first_answer.add_done_callback(_note_error)
        await asyncio.wait([self._first_answer], timeout=_START_POLL_S)
        if not self._has_started:
            reason = await asyncio.to_thread(starting.reason, self._actor, self._settings.shards)
            raise ShardUnavailable(f"shard {self._index}: {reason}")

    @property
    def _name(self) -> str:
        return f"shard-{self._index}"

    def _present(self) -> Any:
        """The actor of this name in the cluster, None where there is none."""
        try:
            return ray.get_actor(self._name)
        except ValueError:
            return None

    def _require_same_version(self) -> None:
        # Ray gives the handle of a running actor the methods of the class that the actor was started from.
        if not hasattr(self._actor, "reply_to"):
            raise ConfigError(
                f"shard {self._index}: it runs in this cluster already, from another version of hermes; end those "
                "shards first, by `hermes fleet stop` of that version"
            )

    async def _require_same_store(self) -> None:
        if await self._actor.store_id.remote() != shard_process.store_id(self._store_url):
            raise ConfigError(
                f"shard {self._index}: it runs in this cluster already, with another store; use that store, or a "
                "cluster of its own"
            )

    def _start(self) -> None:
        if not self.may_start:
            self._actor, self._first_answer = self._present(), None
            return
        shards = self._settings.shards
        shared = {"name": self._name, "lifetime": "detached", "get_if_exists": True}
        self._started_at = time.monotonic()
        self._first_answer = None
        self._actor = ShardActor.options(
            num_cpus=shards.num_cpus,
            num_gpus=shards.num_gpus,
            label_selector=shards.label_selector or None,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=_MAX_CONCURRENT_CALLS,
            scheduling_strategy=_STRATEGIES[shards.placement],
            **({} if shards.is_local else shared),
        ).remote(
            contract.encode_settings(self._settings),
            shard_process.store_id(self._store_url),
            self._generation,
            self._log_level,
            self._index,
        )

    async def _awaited(self, call: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes at the same moment as the result.
        with self._translated():
            async with asyncio.timeout(timeout_s):
                return await call()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns Ray's errors, and what a process says that cannot work, into ShardUnavailable."""
        try:
            yield
        except (RayError, TimeoutError, ShardNotStarted, ValueError) as error:
            translated = ray_errors.translate(error, self._index)
            if self.is_wanted and ray_errors.has_given_up(error):
                self._revive(was_ended=isinstance(translated, ShardEnded))
            raise translated from None

    def _revive(self, *, was_ended: bool) -> None:
        """Starts a new actor when Ray gave the process up.

        Ray does so when a process fails while it starts, e.g. because its predecessor still holds the GPU's memory.
        """
        if time.monotonic() - self._started_at >= _REVIVE_EVERY_S:
            if self.may_start:
                (log.info if was_ended else log.warning)("shard_restarted", shard=self._index)
                ray.kill(self._actor)
            self._start()


def _note_error(answer: asyncio.Future[str]) -> None:
    """Takes note of an error that the next call meets too, so that asyncio does not log it."""
    if not answer.cancelled():
        answer.exception()
