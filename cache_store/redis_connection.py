"""A connection to Redis or Valkey by its URL, with deadlines, that raises the errors of this room."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from cache_store import store_urls
from cache_store.errors import (
    StoreForbidden,
    StoreFull,
    StoreLoading,
    StoreNotReplicated,
    StoreReadOnly,
    StoreUnavailable,
)
from cache_store.store_urls import SentinelAddress

_BACKOFF_BASE_S = 0.05
_BACKOFF_CAP_S = 0.5
_REPLICATION_TIMEOUT_MS = 500
# Operations of one client under way at once. More wait for their turn, within their deadlines: a fleet asks for the
# leases of all shards at once, and redis refuses what needs more than 100 connections.
_OPERATIONS_AT_ONCE = 32
IDLE_S = 2.0  # after so long without an operation, all connections of a client but one are closed

# The first pattern that matches a server's error message gives its type. An error inside of a script has the same
# words, with others around them.
_ERROR_TYPES: tuple[tuple[re.Pattern[str], type[StoreUnavailable]], ...] = (
    (re.compile(r"OutOfMemory|\bOOM\b|used memory > 'maxmemory'"), StoreFull),
    (re.compile(r"ReadOnly|READONLY|read only replica|is now a slave"), StoreReadOnly),
    (
        re.compile(r"NoPermission|NOPERM|Authentication|WRONGPASS|NOAUTH|ACL failure|can't run this command"),
        StoreForbidden,
    ),
    (re.compile(r"BusyLoading|LOADING"), StoreLoading),
)


class _IdlePool(redis.ConnectionPool):
    """Keeps one connection once nothing was under way for a while: a burst would leave its connections open for ever.

    Not at once: work of several operations at a time would make new connections for each of them.
    """

    _timer: asyncio.TimerHandle | None = None
    _shrinking: asyncio.Task[None] | None = None

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        self._stop_timer()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]

    async def release(self, connection: AbstractConnection) -> None:
        await super().release(connection)
        self._stop_timer()
        if not self._in_use_connections and len(self._available_connections) > 1:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._begin_shrinking)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        self._stop_timer()
        await super().disconnect(inuse_connections)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_shrinking(self) -> None:
        self._timer = None
        surplus, self._available_connections[:] = self._available_connections[:-1], self._available_connections[-1:]
        self._shrinking = asyncio.create_task(_disconnect(surplus), name="closing idle connections of the store")


async def _disconnect(connections: Sequence[AbstractConnection]) -> None:
    for connection in connections:
        await connection.disconnect()


class RedisConnection:
    """A client of one server, or of the primary that its Sentinels name. Raises StoreUnavailable.

    address: the URL without credentials, for messages. timeout_s: for one try; a try that could not reach the server is
    repeated `retries` times.
    """

    def __init__(self, url: str, *, timeout_s: float, retries: int) -> None:
        self.address = store_urls.redact(url)
        self.is_sentinel = store_urls.is_sentinel(url)
        # A server that sends byte by byte never fails a try, so all tries together have a deadline too.
        self._deadline_s = timeout_s * (1 + retries) + _BACKOFF_CAP_S * retries
        settings: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(ExponentialWithJitterBackoff(base=_BACKOFF_BASE_S, cap=_BACKOFF_CAP_S), retries),
            # Else each new connection reads the version of the client from the disk, which takes 5 ms.
            "driver_info": None,
        }
        self._turns = asyncio.Semaphore(_OPERATIONS_AT_ONCE)
        self._sentinel = _sentinel(store_urls.sentinel_address(url), settings) if self.is_sentinel else None
        self.client: redis.Redis = (
            self._sentinel.master_for(store_urls.sentinel_address(url).service)
            if self._sentinel
            else redis.Redis.from_pool(_IdlePool.from_url(store_urls.for_client(url), **settings))
        )

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """Gives the block, one operation, a deadline, and translates the client's errors. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(self._deadline_s), self._turns:
                yield
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._deadline_s:g} s"
            message = f"{type(error).__name__}: {reason}"
            raise error_type(message)(f"store {self.address}: {message}") from error

    async def run_replicated(
        self,
        script: str,
        keys: Sequence[str],
        values: Sequence[str | int],
        *,
        what: str = "a write",
        has_written: Callable[[Any], bool] = lambda _: True,
    ) -> Any:
        """The result of a Lua script, once a replica has what it wrote too: where there are replicas, or Sentinels.

        what: names the write in the error. has_written: whether a result needs a replica at all. Raises
        StoreUnavailable; after StoreNotReplicated the write may stay or be lost.
        """
        async with self.operation():
            has_replicas = bool((await self.client.info("replication"))["connected_slaves"])
        must_replicate = has_replicas or self.is_sentinel
        async with self.operation(), self.client.pipeline(transaction=False) as pipeline:
            pipeline.eval(script, len(keys), *keys, *values)
            if must_replicate:
                # Waits for the writes of this connection alone. Inside of a script it would not wait.
                pipeline.wait(1, _REPLICATION_TIMEOUT_MS)
            result, *replicas = await pipeline.execute()
        if must_replicate and has_written(result) and not replicas[0]:
            raise StoreNotReplicated(
                f"store {self.address}: no replica confirmed {what} within {_REPLICATION_TIMEOUT_MS} ms (at least 1 "
                "must)"
            )
        return result

    async def close(self) -> None:
        """Closes the connection."""
        await self.client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def error_type(message: str) -> type[StoreUnavailable]:
    """The type of a server's error message."""
    return next((kind for pattern, kind in _ERROR_TYPES if pattern.search(message)), StoreUnavailable)


def as_text(value: bytes | str) -> str:
    """A value from the server as text, whether or not the client decodes it."""
    return value.decode() if isinstance(value, bytes) else value


def _sentinel(address: SentinelAddress, settings: dict[str, Any]) -> Sentinel:
    # A Sentinel that is down must not cost more than one try: the next one knows the primary too.
    sentinel_settings = settings | {"username": address.sentinel_username, "password": address.sentinel_password}
    sentinel_settings["retry"] = Retry(ExponentialWithJitterBackoff(base=_BACKOFF_BASE_S, cap=_BACKOFF_CAP_S), 0)
    timeout_s = settings["socket_timeout"] / len(address.sentinels)
    sentinel_settings["socket_timeout"] = sentinel_settings["socket_connect_timeout"] = timeout_s
    return Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels,
        sentinel_kwargs=sentinel_settings,
        username=address.username,
        password=address.password,
        **settings,
    )
