"""Which servers serve over one store, as they themselves say there, and the request to end that they may find there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from actors import task_cancellation
from cache_store.errors import StoreUnavailable
from cache_store.redis_connection import RedisConnection, as_text

log = structlog.get_logger(__name__)

_KEY = "hermes:servers"  # a hash: address of each server, and when it last said that it serves, in store time
_EVERY_S = 1.0
_VALID_S = 10.0
_TIMEOUT_S = 2.0

# ARGV: the address of a server that says that it serves, and 1 if it says so for the first time: a request to end was
# for the server before it. -> 1 if it shall end
_ANNOUNCE = """
local now = tonumber(redis.call('TIME')[1])
if ARGV[2] ~= '1' and redis.call('HGET', KEYS[1], ARGV[1]) == 'end' then return 1 end
redis.call('HSET', KEYS[1], ARGV[1], now)
redis.call('EXPIRE', KEYS[1], 60)
return 0
"""
# ARGV: seconds that an entry is valid. -> the addresses of those that serve; the others are deleted.
_SERVING = """
local now, found, all = tonumber(redis.call('TIME')[1]), {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    if all[i + 1] == 'end' or now - tonumber(all[i + 1]) <= tonumber(ARGV[1]) then found[#found + 1] = all[i]
    else redis.call('HDEL', KEYS[1], all[i]) end
end
return found
"""


class ServerPresence:
    """The servers of one store. address: of this server, among those of all machines; empty for a mere reader."""

    def __init__(self, url: str, address: str = "") -> None:
        self._connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=1)
        self._address = address
        self._has_announced = False

    async def announce(self) -> bool:
        """Says that this server serves. -> whether it was asked to end since. Raises StoreUnavailable."""
        arguments = self._address, int(not self._has_announced)
        async with self._connection.operation():
            shall_end = bool(await self._connection.client.eval(_ANNOUNCE, 1, _KEY, *arguments))
        self._has_announced = True
        return shall_end

    async def run(self) -> None:
        """Says so every second, until cancelled. A server that is asked to end gets a SIGTERM from itself."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                if await self.announce():
                    log.warning("server_asked_to_end", by="hermes fleet stop")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            await asyncio.sleep(_EVERY_S)

    async def serving(self) -> list[str]:
        """The addresses of the servers that serve now. Raises StoreUnavailable."""
        async with self._connection.operation():
            return sorted(map(as_text, await self._connection.client.eval(_SERVING, 1, _KEY, _VALID_S)))

    async def ask_to_end(self, address: str) -> None:
        """Leaves word for a server that it shall end. Raises StoreUnavailable."""
        async with self._connection.operation():
            await self._connection.client.hset(_KEY, address, "end")

    async def withdraw(self) -> None:
        """This server serves no more."""
        with contextlib.suppress(StoreUnavailable):
            async with self._connection.operation():
                await self._connection.client.hdel(_KEY, self._address)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


@asynccontextmanager
async def announced(store_url: str, address: str) -> AsyncIterator[None]:
    """Lets `hermes fleet stop` see during the block that a server serves. address: HOST:PORT that it listens on."""
    presence = ServerPresence(store_url, f"{socket.gethostname()}:{address.rpartition(':')[2]}")
    announcing = asyncio.create_task(presence.run())
    try:
        yield
    finally:
        await task_cancellation.end(announcing)
        await presence.withdraw()
        await presence.close()
