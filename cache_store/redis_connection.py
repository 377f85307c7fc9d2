"""The way to a Redis or Valkey, by its URL: deadlines, and the client's errors as ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from cache_store import store_urls
from cache_store.checkpoint import StoreForbidden, StoreFull, StoreLoading, StoreReadOnly, StoreUnavailable
from cache_store.store_urls import SentinelAddress

_BACKOFF_BASE_S = 0.05
_BACKOFF_CAP_S = 0.5

# What a server says of itself; the first that fits. Inside of a script the words are the same, around them are others.
_REFUSALS: tuple[tuple[re.Pattern[str], type[StoreUnavailable]], ...] = (
    (re.compile(r"OutOfMemory|\bOOM\b|used memory > 'maxmemory'"), StoreFull),
    (re.compile(r"ReadOnly|READONLY|read only replica|is now a slave"), StoreReadOnly),
    (
        re.compile(r"NoPermission|NOPERM|Authentication|WRONGPASS|NOAUTH|ACL failure|can't run this command"),
        StoreForbidden,
    ),
    (re.compile(r"BusyLoading|LOADING"), StoreLoading),
)


class RedisConnection:
    """A client of one server, or of whichever is the primary by its Sentinels' word, and its errors as ours.

    timeout_s: for one try; a try that could not reach the server is repeated `retries` times.
    """

    def __init__(self, url: str, *, timeout_s: float, retries: int) -> None:
        self.where = store_urls.shown(url)
        self.is_sentinel = store_urls.is_sentinel(url)
        # A server that trickles never fails a try, so that all tries together have a deadline too.
        self._deadline_s = timeout_s * (1 + retries) + _BACKOFF_CAP_S * retries
        settings: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(ExponentialWithJitterBackoff(base=_BACKOFF_BASE_S, cap=_BACKOFF_CAP_S), retries),
        }
        self._sentinel = _sentinel(store_urls.sentinel_address(url), settings) if self.is_sentinel else None
        self.client: redis.Redis = (
            self._sentinel.master_for(store_urls.sentinel_address(url).service)
            if self._sentinel
            else redis.Redis.from_url(url, **settings)
        )

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Gives the block, one operation, its deadline, and turns what the client raises into StoreUnavailable."""
        try:
            async with asyncio.timeout(self._deadline_s):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._deadline_s:g} s"
            told = f"{type(error).__name__}: {reason}"
            raise kind_of(told)(f"store {self.where}: {told}") from error

    async def close(self) -> None:
        """Lets go of the connection."""
        await self.client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def kind_of(told: str) -> type[StoreUnavailable]:
    """What a server's refusal, in its own words, means."""
    return next((kind for pattern, kind in _REFUSALS if pattern.search(told)), StoreUnavailable)


def as_text(value: bytes | str) -> str:
    """What a client brought back, whichever way it was told to."""
    return value.decode() if isinstance(value, bytes) else value


def _sentinel(address: SentinelAddress, settings: dict[str, Any]) -> Sentinel:
    # One Sentinel that is down must not cost more than a try: the next one knows as much.
    asking = settings | {"username": address.sentinel_username, "password": address.sentinel_password}
    asking["retry"] = Retry(ExponentialWithJitterBackoff(base=_BACKOFF_BASE_S, cap=_BACKOFF_CAP_S), 0)
    asking["socket_timeout"] = asking["socket_connect_timeout"] = settings["socket_timeout"] / len(address.sentinels)
    return Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels,
        sentinel_kwargs=asking,
        username=address.username,
        password=address.password,
        **settings,
    )
