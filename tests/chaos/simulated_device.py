"""A device and streams without frames: of each memory only the number of frames that it has seen is simulated."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from concurrent import futures

from actors.errors import ShardUnavailable
from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from pipeline.answers import UnknownCamera
from pipeline.cameras import MemoryStatus
from tests.cache_store.test_checkpoint import FACTS
from tests.virtual_time import now_s

_FRAME_EVERY_S = 0.5


class SimulatedClips:
    """Which cameras' frames are held back, and since when there is one."""

    def __init__(self) -> None:
        self._held_back: dict[str, float | None] = {}

    def put(self, camera: str) -> bool:
        """Whether a new frame reaches the device."""
        if camera not in self._held_back:
            return True
        if self._held_back[camera] is None:
            self._held_back[camera] = now_s()
        return False

    def hold_back(self, camera: str) -> None:
        self._held_back[camera] = None

    def held_back_since_s(self, camera: str) -> float | None:
        return self._held_back.get(camera)

    def release(self, camera: str, after_s: float = 0.0) -> None:
        self._held_back.pop(camera, None)

    def discard(self, camera: str, until_s: float = 0.0) -> None:
        """There are no frames that wait."""

    def remove(self, camera: str) -> None:
        self._held_back.pop(camera, None)


class SimulatedDevice:
    """A Device of camera_memories. on_added: called with a camera and the number of frames that were restored."""

    def __init__(self, on_added: Callable[[str, int], None]) -> None:
        self.clips = SimulatedClips()
        self._on_added = on_added
        self._memories: dict[str, MemoryStatus] = {}

    def append(self, camera: str) -> None:
        """Takes the next frame of a camera."""
        if self.clips.put(camera) and camera in self._memories:
            memory = self._memories[camera]
            self._memories[camera] = dataclasses.replace(memory, frames_seen=memory.frames_seen + 1, newest_s=now_s())

    def add_camera(
        self,
        name: str,
        checkpoint: Checkpoint | None = None,
        *,
        started_s: float | None = None,
        gap: Gap | None = None,
        is_gated: bool = False,
    ) -> None:
        assert name not in self._memories
        frames = checkpoint.facts.frames_seen if checkpoint else 0
        self._memories[name] = MemoryStatus(frames_seen=frames)
        self._on_added(name, frames)

    def remove_camera(self, name: str) -> None:
        self.status(name)
        del self._memories[name]
        self.clips.remove(name)

    def set_gate(self, name: str, *, is_gated: bool) -> None:
        self.status(name)

    def erase_camera(self, name: str, gap: Gap) -> None:
        self.status(name)
        self._memories[name] = MemoryStatus()

    def status(self, name: str) -> MemoryStatus:
        if name not in self._memories:
            raise UnknownCamera(name)
        return self._memories[name]

    def snapshot(self, camera: str, *, is_whole: bool = False) -> futures.Future[Checkpoint]:
        future: futures.Future[Checkpoint] = futures.Future()
        try:
            facts = dataclasses.replace(FACTS, frames_seen=self.status(camera).frames_seen)
            future.set_result(Checkpoint(facts, (), {}))
        except UnknownCamera as error:
            future.set_exception(error)
        return future


class SimulatedFeed:
    """A frame every half second until it is stopped. step: waits while its process hangs, and fails once it is dead."""

    def __init__(self, device: SimulatedDevice, camera: str, step: Callable[[], Awaitable[None]]) -> None:
        self._device = device
        self._camera = camera
        self._step = step
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self, timeout_s: float = 0.0) -> None:
        self.request_stop()

    def request_stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except ShardUnavailable:
                return
            self._device.append(self._camera)
            await asyncio.sleep(_FRAME_EVERY_S)
