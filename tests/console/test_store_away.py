"""Lists of a server whose store does not answer say so, and since when."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path

import pytest

from actors import task_cancellation
from actors.config.router_config import RouterConfig
from actors.fleet.redis_registry import RedisRegistry
from actors.server.server import Router
from actors.server.startup import Startup
from tests import servers
from tests.actors.scripted import ScriptedShard, camera_spec, scripted_fleet
from tests.actors.waiting import until
from tests.console.running import run
from tests.servers import VALKEY

pytestmark = pytest.mark.redis


async def test_lists_warn_while_the_store_does_not_answer(tmp_path: Path) -> None:
    """They used to say live and up as if nothing were wrong."""
    with servers.running(VALKEY, tmp_path) as store:
        registry = RedisRegistry(store.url)
        fleet = scripted_fleet(ScriptedShard(pid=100), ScriptedShard(pid=200), registry=registry, clock=time.time)
        await fleet.add_camera(camera_spec("gate"))
        router = Router(Startup(fleet), RouterConfig(port=0), None)
        address = await router.start()
        running = asyncio.create_task(fleet.run())
        try:
            calm = await run("shards", "list", "--address", address)
            stopped_s = time.time()
            store.pause()

            async def away_since() -> str | None:
                listed = await run("shards", "list", "--json", "--address", address)
                since: str | None = json.loads(listed.out)["store_away_since"]
                return since

            async def is_away() -> bool:
                return await away_since() is not None

            async def is_back() -> bool:
                return not await is_away()

            await until(is_away)
            since = await away_since()
            shards = await run("shards", "list", "--address", address)
            cameras = await run("cameras", "list", "--address", address)
            as_json = await run("cameras", "list", "--json", "--address", address)
            store.go_on()
            await until(is_back)
            again = await run("cameras", "list", "--address", address)
        finally:
            store.go_on()
            await task_cancellation.end(running)
            await router.stop()
            await registry.close()

    assert since is not None
    assert abs(datetime.fromisoformat(since).timestamp() - stopped_s) < 10.0
    for listed in (shards, cameras, as_json):
        warnings = [line for line in listed.err.splitlines() if line.startswith("warning: ")]
        assert len(warnings) == 1
        assert warnings[0].startswith("warning: the store has not answered since ")
        assert warnings[0].endswith(": answers go on, changes and checkpoints wait")
        assert listed.code == 0
    assert "up" in shards.out
    assert "live" in cameras.out
    assert "gate" in as_json.out
    assert "warning" not in calm.err + again.err
