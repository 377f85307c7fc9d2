"""The state of one fleet: which camera is on which shard, and which shards have free slots. Makes no calls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from actors.fleet import name_suggestions
from actors.fleet.records import CameraRecord, ShardRecord
from actors.fleet.views import ShardView
from actors.shard.interface import Assignment, Shard, ShardStatus
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraState, CameraStatus
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR


class FleetState:
    """All records of one fleet, and their one writer. `spares`: shards kept empty while the others have free slots."""

    def __init__(self, shards: Iterable[Shard], spares: int = 0) -> None:
        self.shards = [ShardRecord(shard) for shard in shards]
        self.cameras: dict[str, CameraRecord] = {}
        self.cameras_by_id: dict[str, CameraRecord] = {}
        self.newest_epoch = 0  # of any camera
        self._cameras_by_shard: list[dict[str, CameraRecord]] = [{} for _ in self.shards]
        self._spares = spares

    @property
    def headroom(self) -> int:
        """How many cameras could still be added if the fullest shard failed; negative: so many would find no slot."""
        counts = self.camera_counts()
        free = [record.slots - counts[index] if record.is_accepting else 0 for index, record in enumerate(self.shards)]
        return min(sum(free) - free[index] - counts[index] for index in range(len(self.shards)))

    def camera_counts(self) -> list[int]:
        """The number of cameras on each shard."""
        return list(map(len, self._cameras_by_shard))

    def find(self, name: str) -> CameraRecord:
        """The record of a camera. Raises UnknownCamera."""
        record = self.cameras.get(name)
        if record is None:
            raise UnknownCamera(name_suggestions.unknown_camera(name, self.cameras))
        return record

    def shard_of(self, record: CameraRecord) -> ShardRecord:
        """The shard that a camera is on."""
        return self.shards[record.shard_index]

    def cameras_on(self, index: int) -> list[CameraRecord]:
        """The cameras on a shard."""
        return list(self._cameras_by_shard[index].values())

    def index_of(self, incarnation: str) -> int | None:
        """The index of the shard that is up and reports this incarnation."""
        found = (
            index for index, record in enumerate(self.shards) if record.is_up and record.incarnation == incarnation
        )
        return next(found, None)

    def has_replaced(self, incarnation: str) -> bool:
        """Whether a shard that reported this incarnation is another process now."""
        return any(record.previous_incarnation == incarnation for record in self.shards)

    def add(self, assignment: Assignment, *, is_configured: bool = False) -> CameraRecord:
        """Adds a camera, on the shard with the fewest, if possible one that accepts cameras.

        A camera of the same name is replaced.
        """
        spec = assignment.spec
        status = CameraStatus(
            id=assignment.id,
            name=spec.name,
            url=urls.redact(spec.url),
            state=CameraState.CONNECTING,
            masks=spec.masks,
        )
        self.remove(spec.name)
        REDACTOR.remember(spec.url)
        index = (*self.shards_with_capacity(), *range(len(self.shards)))[0]
        record = CameraRecord(assignment, index, status, is_configured)
        self.cameras_by_id[assignment.id] = record
        self.cameras[spec.name] = self._cameras_by_shard[index][spec.name] = record
        return record

    def remove(self, name: str) -> None:
        """Removes a camera; nothing happens if there is none of this name."""
        record = self.cameras.pop(name, None)
        if record is not None:
            del self.cameras_by_id[record.id]
            del self._cameras_by_shard[record.shard_index][name]
            REDACTOR.forget(record.spec.url)

    def reassign(self, record: CameraRecord, index: int) -> None:
        """Records that the camera is on this shard. A camera that was removed meanwhile is not counted there."""
        if self.cameras.get(record.spec.name) is record:
            del self._cameras_by_shard[record.shard_index][record.spec.name]
            self._cameras_by_shard[index][record.spec.name] = record
        record.shard_index = index

    def observe(self, index: int, status: ShardStatus) -> list[CameraRecord]:
        """Records what a shard reports of itself and its cameras.

        -> the cameras that should be on the shard and are not, or are there in an epoch that is not the newest
        """
        self.shards[index].observe(status)
        reported = {camera.id: camera for camera in status.cameras}
        missing = []
        for record in self.cameras_on(index):
            if record.id in reported:
                record.observe(reported[record.id])
                self.newest_epoch = max(self.newest_epoch, record.newest_epoch)
            else:
                record.mark_missing()
            is_owned = record.status.epoch >= record.newest_epoch and record.status.state is not CameraState.RECOVERING
            if record.id not in reported or not is_owned:
                missing.append(record)
        return missing

    def observe_epoch(self, record: CameraRecord, epoch: int) -> None:
        """Records the epoch of an answer. Raises CameraRecovering if the answer comes from a stale owner."""
        record.observe_epoch(epoch)
        self.newest_epoch = max(self.newest_epoch, epoch)

    def mark_shard_down(self, index: int, now_s: float) -> None:
        """Records that a shard does not answer, so its cameras cannot answer either."""
        self.shards[index].mark_down(now_s)
        for record in self.cameras_on(index):
            record.mark_recovering(f"shard {index} is restarting")

    def shards_with_capacity(self, *, exclude: int | None = None) -> list[int]:
        """The shards that accept a camera and have a free slot, emptiest first, spares last."""
        counts = self.camera_counts()
        accepting = (index for index, record in enumerate(self.shards) if record.is_accepting)
        free = [index for index in accepting if counts[index] < (self.shards[index].slots or math.inf)]
        spares = self._spare_shards(counts)
        ranked = sorted(free, key=lambda index: (index in spares, counts[index], self.shards[index].busy_share))
        return [index for index in ranked if index != exclude]

    def active_shards(self) -> list[int]:
        """The shards that accept cameras, without spares."""
        spares = self._spare_shards(self.camera_counts())
        return [index for index, record in enumerate(self.shards) if record.is_accepting and index not in spares]

    def shard_view(self, index: int) -> ShardView:
        """An immutable copy of a shard's record for operators."""
        record = self.shards[index]
        return ShardView(
            index=index,
            pid=record.pid,
            node=record.node,
            is_up=record.is_up,
            is_draining=record.is_draining,
            cameras=tuple(sorted(self._cameras_by_shard[index])),
            slots=record.slots,
            busy_share=round(record.busy_share, 3),
        )

    def _spare_shards(self, counts: Sequence[int]) -> set[int]:
        """The last of the empty shards, at most as many as shall be spared."""
        empty = [index for index, record in enumerate(self.shards) if record.is_accepting and not counts[index]]
        return set(empty[len(empty) - min(self._spares, len(empty)) :])
