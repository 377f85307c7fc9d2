"""The answers that run, by camera, so that a camera is given up only once they have ended."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from pipeline.answers import UnknownCamera

_MAX_WAIT_S = 2.0  # for an answer's end: questions to the camera wait meanwhile, and its clips


class RunningAnswers:
    """One event loop owns it."""

    def __init__(self) -> None:
        self._ends: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._closed: set[str] = set()

    @contextmanager
    def answering(self, camera_id: str) -> Iterator[None]:
        """An answer runs during the block. Raises UnknownCamera while the camera is being given up."""
        if camera_id in self._closed:
            raise UnknownCamera(f"camera {camera_id!r} is leaving this shard")
        end = asyncio.get_running_loop().create_future()
        self._ends[camera_id].add(end)
        try:
            yield
        finally:
            end.set_result(None)
            self._ends[camera_id].discard(end)
            if not self._ends[camera_id]:
                del self._ends[camera_id]

    @asynccontextmanager
    async def ended(self, camera_id: str) -> AsyncIterator[None]:
        """No answer begins until the block ends; it begins once those that run have ended, at the latest after 2 s."""
        self._closed.add(camera_id)
        try:
            if running := self._ends.get(camera_id):
                await asyncio.wait(tuple(running), timeout=_MAX_WAIT_S)
            yield
        finally:
            self._closed.discard(camera_id)
