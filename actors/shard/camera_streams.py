"""The video streams of one shard: of the cameras that it owns, and of those that it stands by for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from actors.shard.interface import Assignment
from cache_store.checkpoint import Checkpoint
from pipeline.cameras import CameraSpec, CameraState, SourceReason
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig


@dataclass(slots=True)
class CameraStream:
    """A camera's feed and the state that the feed last reported."""

    spec: CameraSpec
    feed: CameraFeed
    state: CameraState = CameraState.CONNECTING
    detail: str = ""
    reason: SourceReason | None = None

    def report(self, state: CameraState, detail: str, reason: SourceReason | None) -> None:
        """Records a new state of the feed."""
        self.state, self.detail, self.reason = state, detail, reason


class CameraStreams:
    """Opens and ends streams. One event loop owns it; `owned` and `standby` are read-only for others."""

    def __init__(self, clips: ClipQueue, ingest: IngestConfig, frame_size: int) -> None:
        self._clips = clips
        self._ingest = ingest
        self._frame_size = frame_size
        self.owned: dict[str, CameraStream] = {}
        self.standby: dict[str, CameraStream] = {}

    def open(self, assignment: Assignment, saved: Checkpoint | None) -> None:
        """Opens the stream of a camera that this shard owns now; a standby stream of the same spec is taken over."""
        spec = assignment.spec
        standby = self.standby.pop(spec.name, None)
        if standby is None or standby.spec != spec:
            self.owned[spec.name] = self._opened(assignment, saved)
            return
        self.owned[spec.name] = standby
        # The connections of the two owners give one frame slightly different times.
        last_frame_s = saved.facts.newest_s + 0.5 / self._ingest.for_camera(spec).sample_fps if saved else 0.0
        self._clips.release(spec.name, last_frame_s)

    def end(self, name: str) -> None:
        """Ends the stream of an owned camera: no clip follows. Does not wait for the feed's thread."""
        self.owned.pop(name).feed.request_stop()

    def open_standby(self, assignment: Assignment) -> CameraStream:
        """Opens the stream of a camera that another shard owns, and holds its newest clips back."""
        name = assignment.spec.name
        self._clips.hold_back(name)
        self.standby[name] = self._opened(assignment, None)
        return self.standby[name]

    def end_standby(self, name: str) -> None:
        """Ends the standby stream and drops its clips; nothing happens without one."""
        stream = self.standby.pop(name, None)
        if stream is not None:
            stream.feed.request_stop()
            self._clips.remove(name)

    def standby_since_s(self) -> Mapping[str, float | None]:
        """The time of the first clip that is held back for each standby camera, None before it, in Unix seconds."""
        return {name: self._clips.held_back_since_s(name) for name in self.standby}

    async def stop_all(self) -> None:
        """Ends every stream and waits up to about 2 s for the threads of the feeds."""
        feeds = [stream.feed for stream in (*self.owned.values(), *self.standby.values())]
        await asyncio.gather(*(asyncio.to_thread(feed.stop) for feed in feeds))

    def clear(self) -> None:
        """Forgets every stream, once all of them have ended."""
        self.owned.clear()
        self.standby.clear()

    def _opened(self, assignment: Assignment, saved: Checkpoint | None) -> CameraStream:
        spec, loop = assignment.spec, asyncio.get_running_loop()

        def on_state(state: CameraState, detail: str, reason: SourceReason | None) -> None:
            # The feed calls this in its own thread.
            loop.call_soon_threadsafe(stream.report, state, detail, reason)

        feed = CameraFeed(
            spec,
            self._ingest,
            self._frame_size,
            self._clips,
            on_state=on_state,
            resume_from_s=saved.facts.newest_s if saved else None,
            started_s=saved.facts.started_s if saved else assignment.started_s,
        )
        stream = CameraStream(spec, feed)
        feed.start()
        return stream
