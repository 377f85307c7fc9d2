"""The video streams of one shard: of the cameras that it owns, and of those that it stands by for."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from actors.shard.camera_stream import CameraStream
from actors.shard.interface import Assignment
from actors.shard.shard_device import Feed, FeedFactory
from cache_store.checkpoint import Checkpoint
from pipeline.cameras import CameraSpec, CameraState, SourceReason
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.feed import STOP_TIMEOUT_S
from pipeline.sources.ingest_config import IngestConfig

_LEAST_CHANGE = 0.05  # of the share of all rates: each change is a message to each camera
_LOWERED = 0.99  # of its rate: a camera below it is shown
_AHEAD_S = 2.0  # so much may the clocks of two machines differ where nobody compared them


class CameraStreams:
    """Opens and ends streams, by the ids of cameras. One event loop owns it; its fields are read-only for others."""

    def __init__(
        self, clips: ClipQueue, ingest: IngestConfig, open_feed: FeedFactory, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._clips = clips
        self._ingest = ingest
        self._open_feed = open_feed
        self.clock = clock
        self.owned: dict[str, CameraStream] = {}
        self.standby: dict[str, CameraStream] = {}
        self._rate_share = 1.0

    def specs(self) -> dict[str, CameraSpec]:
        """Of all cameras, owned or stood by for, by id."""
        return {camera_id: stream.spec for camera_id, stream in (self.standby | self.owned).items()}

    def playing(self) -> dict[str, CameraSpec]:
        """As `specs`, without those that give no frame any more until they are opened anew."""
        streams = (self.standby | self.owned).items()
        return {camera_id: stream.spec for camera_id, stream in streams if not stream.is_over}

    def open(self, assignment: Assignment, saved: Checkpoint | None) -> None:
        """Opens the stream of a camera that this shard owns now; a standby stream of the same spec is taken over."""
        spec = assignment.spec
        standby = self.standby.get(assignment.id)
        if standby is None or standby.spec != spec or (saved is not None and self._is_too_late(assignment, saved)):
            self.end_standby(assignment.id)  # its clips are held back, and would hold those of the new stream back
            resume_s, started_s = (saved.facts.newest_s, saved.facts.started_s) if saved else (None, None)
            self.owned[assignment.id] = self._opened(assignment, resume_s, started_s)
            return
        self.owned[assignment.id] = self.standby.pop(assignment.id)
        if saved is None:
            self._clips.release(assignment.id)
            return
        newest_s, ahead_s = saved.facts.newest_s, assignment.clock_ahead_s
        # The connections of the two owners give one frame slightly different times.
        last_frame_s = newest_s + (ahead_s or 0.0) + 0.5 / self._ingest.for_camera(spec).sample_fps
        self._clips.release(assignment.id, last_frame_s, behind_s=newest_s if ahead_s else None)

    def _is_too_late(self, assignment: Assignment, saved: Checkpoint) -> bool:
        """Whether frames that come now have times that the memory has already, also by the clock of its owner."""
        ahead_s = assignment.clock_ahead_s
        return self.is_ahead(saved.facts.newest_s) if ahead_s is None else saved.facts.newest_s + ahead_s > self.clock()

    def detail(self, stream: CameraStream) -> str:
        """What its feed says, and of the times that its frames get here."""
        note = self._clips.times_note(stream.assignment.id) if stream.state is CameraState.LIVE else ""
        return "; ".join(filter(None, (stream.detail, note)))

    def update(self, assignment: Assignment, newest_s: float | None) -> None:
        """Gives an owned camera another spec; its stream is opened anew where that changes its frames.

        newest_s: time of the newest frame in its memory. The new stream goes on behind that, behind what is on its way,
        and where the stream before began. If the masks are others now, frames on their way are dropped; a recording
        gives them again.
        """
        stream = self.owned[assignment.id]
        before, spec = stream.spec, assignment.spec
        if _frames_of(before) == _frames_of(spec):
            self.keep(assignment)
            return
        stream.feed.request_stop()
        if before.masks != spec.masks:
            self._clips.discard(assignment.id, are_lost=stream.is_live)
        times_s = (newest_s, self._clips.newest_s(assignment.id), stream.resume_s)
        self.reopen(assignment, max((time_s for time_s in times_s if time_s is not None), default=None))

    def keep(self, assignment: Assignment) -> None:
        """Gives an owned camera another assignment; its stream goes on as it is."""
        self.owned[assignment.id].update(assignment)

    def is_ahead(self, newest_s: float | None) -> bool:
        """Whether a memory's newest frame has a time that has not come: the clock that gave it was set back since."""
        return newest_s is not None and newest_s > self.clock() + _AHEAD_S

    def reopen(self, assignment: Assignment, resume_s: float | None) -> None:
        """Opens the stream of an owned camera anew, whose feed was stopped.

        resume_s: see CameraFeed. None if no frame of it came before, or none that is to count.
        """
        if resume_s is None:
            self._clips.remove(assignment.id)
        self.owned[assignment.id] = self._opened(assignment, resume_s, None)

    def limit_rates(self, share: float) -> None:
        """From now on live cameras are sampled at this share of their rates; recordings at fast pace wait instead."""
        if abs(share - self._rate_share) < _LEAST_CHANGE * self._rate_share and (share < 1 or self._rate_share == 1):
            return
        self._rate_share = share
        for stream in (*self.owned.values(), *self.standby.values()):
            stream.feed.limit_rate(share)

    def lowered_fps(self, stream: CameraStream) -> float | None:
        """Frames per second that are sampled from it where these are fewer than its rate, else None."""
        fps = self._clips.sampled_fps(stream.assignment.id)
        rate = self._ingest.for_camera(stream.spec).sample_fps
        return fps if fps is not None and fps < _LOWERED * rate else None

    def end(self, camera_id: str) -> None:
        """Ends the stream of an owned camera: no clip follows. Does not wait for the feed's thread."""
        self.owned.pop(camera_id).feed.request_stop()

    def open_standby(self, assignment: Assignment) -> CameraStream:
        """Opens the stream of a camera that another shard owns, and holds its newest clips back."""
        self._clips.hold_back(assignment.id)
        self.standby[assignment.id] = self._opened(assignment, None, None)
        return self.standby[assignment.id]

    def end_standby(self, camera_id: str) -> None:
        """Ends the standby stream and drops its clips; nothing happens without one."""
        stream = self.standby.pop(camera_id, None)
        if stream is not None:
            stream.feed.request_stop()
            self._clips.remove(camera_id)

    def standby_since_s(self) -> Mapping[str, float | None]:
        """The time of the first clip that is held back for each standby camera, None before it, in Unix seconds."""
        return {camera_id: self._clips.held_back_since_s(camera_id) for camera_id in self.standby}

    async def stop_all(self) -> None:
        """Ends every stream and waits up to about 2 s, whatever their number, for the threads of the feeds."""
        feeds = [stream.feed for stream in (*self.owned.values(), *self.standby.values())]
        for feed in feeds:
            feed.request_stop()
        await asyncio.to_thread(_join, feeds)

    def clear(self) -> None:
        """Forgets every stream, once all of them have ended."""
        self.owned.clear()
        self.standby.clear()

    def _opened(self, assignment: Assignment, resume_s: float | None, started_s: float | None) -> CameraStream:
        loop = asyncio.get_running_loop()

        def on_state(state: CameraState, detail: str, reason: SourceReason | None, note: PictureNote | None) -> None:
            # The feed calls this in its own thread.
            loop.call_soon_threadsafe(stream.report, state, detail, reason, note, self.clock())

        feed = self._open_feed(
            assignment.spec,
            self._ingest,
            clips=self._clips,
            on_state=on_state,
            camera_id=assignment.id,
            resume_from_s=resume_s,
            started_s=assignment.started_s if started_s is None else started_s,
        )
        stream = CameraStream(assignment, feed, self.clock(), resume_s)
        feed.limit_rate(self._rate_share)
        feed.start()
        return stream


def _join(feeds: Sequence[Feed]) -> None:
    # One after the other, with one deadline: a thread for each would wait for a free one of the pool.
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    for feed in feeds:
        feed.stop(max(0.0, deadline_s - time.monotonic()))


def _frames_of(spec: CameraSpec) -> CameraSpec:
    """The spec without what does not change the frames of its stream."""
    return dataclasses.replace(spec, gate=True, labels={})
