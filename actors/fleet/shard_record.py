"""What a fleet records of its shards. Only the record's own class and FleetState assign its fields."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors import task_cancellation
from actors.errors import ShardUnavailable
from actors.fleet.snapshot import ReportedCamera, ShardSnapshot, SizeSnapshot, is_outdated
from actors.fleet.views import ShardView
from actors.shard.interface import Shard, ShardStatus
from actors.shard.shard_counts import ShardCounts
from cache_store.leases import LeaseExpiry
from pipeline.cameras import CameraState, CameraStatus

T = TypeVar("T")


@dataclass(slots=True)
class ShardRecord:
    """A shard's last reported status.

    incarnation: of its present process, previous_incarnation: of the process before; expiry: the proof that the present
    incarnation's lease has expired; down_since_s: by the event loop's clock; detail: why it does not answer; is_failed:
    its answer was an error that nobody foresaw; reported: its cameras by id; unclaimed: by name, those of which this
    fleet has no record; num_busy: actions on it that run now; is_ended: it has no process, and none shall start;
    lapsed: set while the shard is down and its lease has expired, and once it has ended: nothing is left to wait for;
    fingerprints: see ShardStatus.
    """

    shard: Shard
    is_up: bool = True
    is_draining: bool = False
    is_leaving: bool = False
    is_retiring: bool = False
    is_ended: bool = False
    is_failed: bool = False
    detail: str = ""
    pid: int | None = None
    node: str = ""
    incarnation: str | None = None
    previous_incarnation: str | None = None
    expiry: LeaseExpiry | None = None
    down_since_s: float | None = None
    slots: int = 0
    busy_share: float = 0.0
    ingest_share: float = 0.0
    max_ingest_share: float = 0.0
    generation: str = ""
    resident_nbytes: int = 0
    device_nbytes: int = 0
    fingerprints: tuple[str, ...] = ()
    counts: ShardCounts = field(default_factory=ShardCounts)
    reported: Mapping[str, ReportedCamera] = field(default_factory=dict)
    unclaimed: Mapping[str, CameraStatus] = field(default_factory=dict)
    standby: frozenset[str] = frozenset()
    num_busy: int = 0
    lapsed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_accepting(self) -> bool:
        """Whether the shard takes more cameras, as far as it has free slots."""
        return self.is_up and not self.is_draining and not self.is_retiring

    @property
    def is_starting(self) -> bool:
        """Whether it was asked for and has not answered yet."""
        return self.incarnation is None and not self.is_up and not self.is_ended

    def snapshot(self, index: int) -> ShardSnapshot:
        """An immutable copy for a plan."""
        return ShardSnapshot(
            index=index,
            incarnation=self.incarnation,
            detail=self.detail,
            previous_incarnation=self.previous_incarnation,
            is_up=self.is_up,
            is_draining=self.is_draining,
            is_retiring=self.is_retiring,
            is_ended=self.is_ended,
            has_expired=self.expiry is not None,
            down_since_s=self.down_since_s,
            slots=self.slots,
            busy_share=self.busy_share,
            num_busy=self.num_busy,
            generation=self.generation,
            cameras=self.reported,
            standby=self.standby,
            fingerprints=self.fingerprints,
        )

    def view(self, index: int, cameras: Iterable[str], size: SizeSnapshot, *, is_spare: bool) -> ShardView:
        """An immutable copy for operators. is_spare: see ShardView."""
        return ShardView(
            index=index,
            pid=self.pid,
            node=self.node,
            is_up=self.is_up,
            is_draining=self.is_draining or self.is_retiring,
            is_failed=self.is_failed,
            is_starting=self.is_starting,
            detail=self.detail or self._reason(index, size),
            cameras=tuple(sorted(cameras)),
            slots=self.slots,
            busy_share=round(self.busy_share, 3),
            ingest_share=self.ingest_share if self.is_up else 0.0,
            max_ingest_share=self.max_ingest_share if self.is_up else 0.0,
            is_spare=is_spare,
            resident_nbytes=self.resident_nbytes if self.is_up else 0,
            device_nbytes=self.device_nbytes if self.is_up else 0,
        )

    def end_reason(self, size: SizeSnapshot) -> str:
        """Why its process may end now, which costs nothing; empty while it shall go on, or has cameras to lose."""
        has_cameras = bool(self.reported or self.standby)
        return "" if has_cameras and not self.is_leaving else self._end_reason(size)

    def observe(self, status: ShardStatus, reported: Mapping[str, ReportedCamera], recorded: Container[str]) -> None:
        """Records the status that the shard reports. recorded: the ids of which the fleet has a record."""
        if self.incarnation != status.incarnation:
            self.previous_incarnation, self.incarnation, self.expiry = self.incarnation, status.incarnation, None
        if self.lapsed.is_set():
            self.lapsed = asyncio.Event()
        self.is_up, self.is_failed, self.detail, self.down_since_s = True, False, "", None
        self.pid, self.node, self.slots = status.pid, status.node, status.slots
        self.busy_share, self.is_draining, self.generation = status.busy_share, status.is_draining, status.generation
        self.ingest_share, self.max_ingest_share = status.ingest_share, status.max_ingest_share
        self.counts, self.is_leaving = status.counts, status.is_leaving
        self.resident_nbytes, self.device_nbytes = status.resident_nbytes, status.device_nbytes
        self.fingerprints = status.fingerprints
        self.reported, self.standby = reported, frozenset(status.standby)
        self.unclaimed = {camera.name: camera for camera in status.cameras if camera.id not in recorded}

    def reported_camera(self, camera: CameraStatus, now_s: float, expected: Container[str]) -> ReportedCamera:
        """What the shard reports of a camera. expected: ids of the cameras that shall be on this shard.

        The same object as before unless something changed: thousands of new ones a second burden the collector.
        """
        before = self.reported.get(camera.id)
        since_s = now_s if before is None or before.unwanted_since_s is None else before.unwanted_since_s
        reported = ReportedCamera(
            epoch=camera.epoch,
            revision=camera.revision,
            is_owned=camera.state is not CameraState.RECOVERING,
            unwanted_since_s=None if camera.id in expected else since_s,
        )
        return before if before is not None and before == reported else reported

    def forget_reported(self, camera_id: str) -> None:
        """Records that the shard has been told to end this camera."""
        self.reported = {reported: camera for reported, camera in self.reported.items() if reported != camera_id}

    def mark_down(self, now_s: float, reason: str, *, is_failed: bool) -> None:
        """Records that the shard does not answer, or answers with an error that nobody foresaw."""
        self.is_failed, self.detail = is_failed, reason
        if self.is_up or self.down_since_s is None:
            self.is_up, self.down_since_s = False, now_s
        self._note_lapse()

    def mark_expiry(self, expiry: LeaseExpiry | None) -> None:
        """Records the proof that the shard's lease has expired; None where there is none."""
        self.expiry = expiry
        self._note_lapse()

    def mark_retiring(self, *, is_retiring: bool) -> None:
        """Records whether the settings have fewer shards, so that this one shall be emptied."""
        self.is_retiring = is_retiring

    def mark_ended(self) -> None:
        """Records that the shard has ended for good."""
        self.is_ended, self.is_up, self.reported, self.standby = True, False, {}, frozenset()
        self.lapsed.set()

    async def perform(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call of this shard, which is given up once the shard is down and its lease has expired.

        A call to a process that hangs has a long timeout, and whoever waits for it holds the camera. What such a
        process does later, as the owner of nothing, is fenced. Raises ShardUnavailable and what the call raises.
        """
        work, lapse = asyncio.ensure_future(call), asyncio.create_task(self.lapsed.wait())
        try:
            await asyncio.wait((work, lapse), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ShardUnavailable(self.detail or "the shard does not answer, and its lease has expired")
            return work.result()
        finally:
            await task_cancellation.end(work, lapse)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Counts an action on the shard while it runs in this block."""
        self.num_busy += 1
        try:
            yield
        finally:
            self.num_busy -= 1

    def _reason(self, index: int, size: SizeSnapshot) -> str:
        """Why the shard takes no cameras or shall not stay, empty where it does."""
        if self.is_draining and not self.is_leaving:
            return f"drained: hermes shards undrain {index} lets it take cameras again"
        return self._end_reason(size)

    def _end_reason(self, size: SizeSnapshot) -> str:
        if self.is_leaving:
            return "its process was told to end: its cameras move, or are saved"
        if self.is_up and is_outdated(self.generation, size):
            return "runs an older generation of code or settings, until its cameras have moved"
        return (size.numbers.reason or f"{size.numbers.target} shards are wanted") if self.is_retiring else ""

    def _note_lapse(self) -> None:
        if not self.is_up and self.expiry is not None:
            self.lapsed.set()


def newest_copy(shards: Sequence[ShardRecord], name: str, camera_id: str) -> tuple[int | None, CameraStatus | None]:
    """The index of the shard that watches a camera of which the fleet has no record yet, and what it reports of it.

    Of several that of the newest owner, without one that with the newest frame, as it may have the only memory.
    """
    copies = [
        (status.epoch, status.memory.newest_s or 0.0, index)
        for index, shard in enumerate(shards)
        if shard.is_up and (status := shard.unclaimed.get(name)) is not None and status.id == camera_id
    ]
    if not copies:
        return None, None
    index = max(copies)[-1]
    return index, shards[index].unclaimed[name]
