"""A store of a benchmark's own, the embedded one, with a plain client that sees what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actors import embedded_store
from cache_store.leases import UNOWNED_EXPIRY, Owner
from cache_store.redis_connection import RedisConnection
from cache_store.redis_leases import RedisLeases
from cache_store.redis_store import RedisCheckpointStore


@dataclass(frozen=True, slots=True)
class OwnStore:
    """A store of this benchmark's own, and a plain client of the same server."""

    store: RedisCheckpointStore
    owner: Owner
    connection: RedisConnection

    async def spent_s(self) -> float:
        """Processor time of the server so far."""
        used = await self.connection.client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])

    async def received_nbytes(self) -> int:
        """What clients sent to the server so far."""
        return int((await self.connection.client.info("stats"))["total_net_input_bytes"])


@asynccontextmanager
async def running(camera: str) -> AsyncIterator[OwnStore]:
    """An embedded Valkey in which the camera is this process's, for the time of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="hermes-benchmark-") as folder,
        embedded_store.running(Path(folder)) as url,
    ):
        leases = RedisLeases(url)
        owner = await leases.acquire(camera, "benchmark", expiry=UNOWNED_EXPIRY)
        room = OwnStore(
            RedisCheckpointStore(url),
            owner,
            RedisConnection(url, timeout_s=5.0, retries=0),
        )
        yield room
        for opened in (leases, room.store, room.connection):
            await opened.close()
