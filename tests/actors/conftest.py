"""A server in front of scripted shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from actors.config.router_config import RouterConfig
from actors.server.server import Router
from actors.server.startup import Startup
from pipeline.cameras import CameraSpec
from tests.actors.scripted import ScriptedShard, scripted_fleet

Serving = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serving() -> Serving:
    """Runs a server over scripted shards, the first of which watches the camera `gate`; yields the address.

    cameras: further cameras of the configuration.
    """

    @asynccontextmanager
    async def running(
        *shards: ScriptedShard, token: str | None = None, cameras: Sequence[CameraSpec] = (), **settings: float
    ) -> AsyncIterator[str]:
        fleet = scripted_fleet(*shards)
        gate = CameraSpec(name="gate", url="rtsp://user:canary@camera.example/1?key=canary")
        fleet.configure([*cameras, gate])
        await fleet.reconcile()
        router = Router(Startup(fleet), RouterConfig(port=0, **settings), token)
        address = await router.start()
        try:
            yield address
        finally:
            await router.stop()

    return running
