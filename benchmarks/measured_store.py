"""An embedded store for one benchmark, with a plain client that reads its counters."""

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
class MeasuredStore:
    """The store, its owner of one camera, and a plain client of the same server."""

    store: RedisCheckpointStore
    owner: Owner
    connection: RedisConnection

    async def spent_s(self) -> float:
        """Processor time of the server so far, in seconds."""
        cpu = await self.connection.client.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    async def received_nbytes(self) -> int:
        """Bytes that clients sent to the server so far."""
        return int((await self.connection.client.info("stats"))["total_net_input_bytes"])


@asynccontextmanager
async def running(camera: str) -> AsyncIterator[MeasuredStore]:
    """Runs an embedded Valkey during the block; this process owns the camera there."""
    with (
        tempfile.TemporaryDirectory(prefix="hermes-benchmark-") as folder,
        embedded_store.running(Path(folder)) as url,
    ):
        leases = RedisLeases(url)
        owner = await leases.acquire(camera, "benchmark", expiry=UNOWNED_EXPIRY)
        measured = MeasuredStore(
            RedisCheckpointStore(url),
            owner,
            RedisConnection(url, timeout_s=5.0, retries=0),
        )
        yield measured
        for closable in (leases, measured.store, measured.connection):
            await closable.close()
