"""Which servers run over one store: each announces itself there every second, and finds there a request to end."""

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

_KEY = "hermes:servers"  # a hash: address of each server, and its last announcement in store time, or a request to end
_EVERY_S = 1.0
_VALID_S = 10.0
_TIMEOUT_S = 2.0

# ARGV: the address of a server, and 1 for its first announcement: an earlier request to end was for the server that had
# the address before. -> 1 if the server is requested to end.
_ANNOUNCE = """
local now = tonumber(redis.call('TIME')[1])
if ARGV[2] ~= '1' and redis.call('HGET', KEYS[1], ARGV[1]) == 'end' then return 1 end
redis.call('HSET', KEYS[1], ARGV[1], now)
redis.call('EXPIRE', KEYS[1], 60)
return 0
"""
# ARGV: seconds that an announcement is valid. -> the addresses of the servers that run; other entries are deleted.
_SERVING = """
local now, found, all = tonumber(redis.call('TIME')[1]), {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    if all[i + 1] == 'end' or now - tonumber(all[i + 1]) <= tonumber(ARGV[1]) then found[#found + 1] = all[i]
    else redis.call('HDEL', KEYS[1], all[i]) end
end
return found
"""


class ServerPresence:
    """The servers of one store. address: of this server, as no other machine has it; empty where it is only read."""

    def __init__(self, url: str, address: str = "") -> None:
        self._connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=1)
        self._address = address
        self._has_announced = False

    async def announce(self) -> bool:
        """Announces this server. -> whether it was requested to end since. Raises StoreUnavailable."""
        arguments = self._address, int(not self._has_announced)
        async with self._connection.operation():
            shall_end = bool(await self._connection.client.eval(_ANNOUNCE, 1, _KEY, *arguments))
        self._has_announced = True
        return shall_end

    async def run(self) -> None:
        """Announces this server every second until cancelled. Requested to end, it sends SIGTERM to its process."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                if await self.announce():
                    log.warning("server_asked_to_end", by="hermes fleet stop")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            await asyncio.sleep(_EVERY_S)

    async def serving(self) -> list[str]:
        """The addresses of the servers that run now. Raises StoreUnavailable."""
        async with self._connection.operation():
            return sorted(map(as_text, await self._connection.client.eval(_SERVING, 1, _KEY, _VALID_S)))

    async def request_end(self, address: str) -> None:
        """Requests a server to end; it reads that with its next announcement. Raises StoreUnavailable."""
        async with self._connection.operation():
            await self._connection.client.hset(_KEY, address, "end")

    async def withdraw(self) -> None:
        """Deletes the announcement of this server."""
        with contextlib.suppress(StoreUnavailable):
            async with self._connection.operation():
                await self._connection.client.hdel(_KEY, self._address)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


@asynccontextmanager
async def announced(store_url: str, address: str) -> AsyncIterator[None]:
    """Announces a server during the block, for `hermes fleet stop`. address: HOST:PORT that it listens on."""
    presence = ServerPresence(store_url, f"{socket.gethostname()}:{address.rpartition(':')[2]}")
    announcing = asyncio.create_task(presence.run())
    try:
        yield
    finally:
        await task_cancellation.end(announcing)
        await presence.withdraw()
        await presence.close()
