"""A router in front of scripted shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from actors.config.schema import RouterConfig
from actors.server.server import Router
from pipeline.cameras import CameraSpec
from tests.actors.scripted import ScriptedShard, scripted_fleet

Serving = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serving() -> Serving:
    """Serves scripted shards, the first of which watches the camera `gate`; gives the address."""

    @asynccontextmanager
    async def running(*held: ScriptedShard, token: str | None = None, **settings: float) -> AsyncIterator[str]:
        served = scripted_fleet(*held)
        served.add_configured_camera(CameraSpec(name="gate", url="rtsp://user:canary@camera.example/1?key=canary"))
        await served.reconcile()
        door = Router(served, RouterConfig(port=0, **settings), token)
        address = await door.start()
        try:
            yield address
        finally:
            await door.stop()

    return running
