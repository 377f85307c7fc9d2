"""The state of one fleet: what shall be, and what was last observed. Makes no calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from actors.fleet import capacity, name_lists, shard_record
from actors.fleet.epoch_floor import EpochFloor
from actors.fleet.records import CameraRecord, RemovalRecord
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.shard_record import ShardRecord
from actors.fleet.snapshot import FleetSnapshot, Pressure, SizeSnapshot
from actors.shard.interface import Assignment, Shard, ShardStatus
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraState
from pipeline.network.redaction import REDACTOR

_MAX_REMOVED = 20_000
_LOAD_SETTLE_S = 60.0
_REVOKED_KEPT_S = 60.0  # a lease is revoked again much earlier where that has to be


class FleetState:
    """All records of one fleet, and their one writer. size: how many shards there shall be; by default these.

    removed: ids known to be removed, for ever: no id is used again, so a registry that has one has lost its removal.
    """

    def __init__(
        self, shards: Iterable[Shard], size: SizeSnapshot | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        target = size.numbers.target if size else float("inf")
        self.shards = [ShardRecord(shard, is_retiring=index >= target) for index, shard in enumerate(shards)]
        self.size = size or SizeSnapshot(numbers=ShardNumbers.fixed(max(1, len(self.shards))))
        self.cameras: dict[str, CameraRecord] = {}
        self.cameras_by_id: dict[str, CameraRecord] = {}
        self.removals: dict[str, RemovalRecord] = {}
        self.removed: dict[str, None] = {}
        self.epoch_floor = EpochFloor()  # of all cameras
        self.synced_s = float("-inf")
        self.unknown_owners: dict[str, float] = {}
        self.revoked_s: dict[str, float] = {}
        self.balanced_shards: tuple[str | None, ...] = ()
        self.load_settled_s = 0.0
        self._clock = clock
        self._cameras_by_shard: list[dict[str, CameraRecord]] = [{} for _ in self.shards]

    def snapshot(self, now_s: float, *, is_leader: bool = True) -> FleetSnapshot:
        """An immutable picture of this state, for a plan."""
        return FleetSnapshot(
            now_s=now_s,
            is_leader=is_leader,
            synced_s=self.synced_s,
            size=self.size,
            shards=tuple(record.snapshot(index) for index, record in enumerate(self.shards)),
            cameras={camera_id: record.snapshot() for camera_id, record in self.cameras_by_id.items()},
            removals={camera_id: removal.snapshot() for camera_id, removal in self.removals.items()},
            unknown_owners=dict(self.unknown_owners),
            revoked_s=dict(self.revoked_s),
            balanced_shards=self.balanced_shards,
            load_settled_s=self.load_settled_s,
        )

    def camera_counts(self) -> list[int]:
        """The number of cameras on each shard."""
        return list(map(len, self._cameras_by_shard))

    def find(self, name: str) -> CameraRecord:
        """The record of a camera. Raises UnknownCamera."""
        record = self.cameras.get(name)
        if record is None:
            raise UnknownCamera(name_lists.unknown_camera(name, self.cameras))
        return record

    def shard_of(self, record: CameraRecord) -> ShardRecord:
        """The shard that a camera is on."""
        return self.shards[record.shard_index]

    def cameras_on(self, index: int) -> list[CameraRecord]:
        """The cameras on a shard."""
        return list(self._cameras_by_shard[index].values())

    def index_of(self, incarnation: str) -> int | None:
        """The index of the shard that is up and reports this incarnation."""
        return next((i for i, s in enumerate(self.shards) if s.is_up and s.incarnation == incarnation), None)

    def add(self, assignment: Assignment) -> CameraRecord:
        """Adds a camera on the shard that watches it already, else on the emptiest. One of its name is replaced."""
        name = assignment.spec.name
        self.remove(name)
        REDACTOR.remember(assignment.spec.url)
        index, status = shard_record.newest_copy(self.shards, name, assignment.id)
        if index is None:
            index = capacity.first_choice(self.shards, self.camera_counts(), self.size.numbers.spares)
        record = CameraRecord.of(assignment, index, self._clock)
        if status is not None:
            record.observe(status, self.shards[index].fingerprints)
        self.cameras[name] = self.cameras_by_id[assignment.id] = record
        self._cameras_by_shard[record.shard_index][assignment.id] = record
        return record

    def update(self, record: CameraRecord, assignment: Assignment) -> None:
        """Records another spec of the same camera."""
        REDACTOR.forget(record.spec.url)
        REDACTOR.remember(assignment.spec.url)
        record.update(assignment)

    def remove(self, name: str) -> None:
        """Removes a camera; nothing happens if there is none of this name."""
        record = self.cameras.pop(name, None)
        if record is not None:
            del self.cameras_by_id[record.id]
            del self._cameras_by_shard[record.shard_index][record.id]
            REDACTOR.forget(record.spec.url)

    def begin_removal(self, camera_id: str, name: str) -> RemovalRecord:
        """Records that a camera is removed, and that something of it may be left."""
        record, removal = self.cameras_by_id.get(camera_id), self.removals.get(camera_id)
        if removal is None:
            removal = RemovalRecord(camera_id, name)
            if record is not None:  # an action on the camera that runs ends first
                removal = RemovalRecord(camera_id, name, record.shard_index, record.newest_epoch, lock=record.lock)
            self.removals[camera_id] = removal
        self.remember_removed(camera_id)
        if record is not None:
            self.remove(record.spec.name)
        return removal

    def end_removal(self, camera_id: str) -> None:
        """Records that nothing is left of a removed camera."""
        self.removals.pop(camera_id, None)

    def remember_removed(self, camera_id: str) -> None:
        """Records that this id is never watched again."""
        self.removed[camera_id] = None
        if len(self.removed) > _MAX_REMOVED:
            del self.removed[next(iter(self.removed))]

    def reassign(self, record: CameraRecord, index: int) -> None:
        """Records that the camera is on this shard. A camera that was removed meanwhile is not counted there."""
        if self.cameras_by_id.get(record.id) is record:
            del self._cameras_by_shard[record.shard_index][record.id]
            self._cameras_by_shard[index][record.id] = record
        elif removal := self.removals.get(record.id):
            removal.shard_index = index
        record.reassign(index)

    def observe(self, index: int, status: ShardStatus, now_s: float) -> list[tuple[CameraRecord, int]]:
        """Records what a shard reports of itself and its cameras.

        -> cameras that were expected on another shard and that this one owns by now, each with the other shard
        """
        adopted = self._adopt(index, status)
        shard, expected = self.shards[index], self._cameras_by_shard[index]
        reported = {camera.id: shard.reported_camera(camera, now_s, expected) for camera in status.cameras}
        if shard.is_draining and not status.is_draining:
            self.balanced_shards = ()  # it may have been emptied meanwhile
        shard.observe(status, reported, self.cameras_by_id)
        self.unknown_owners.pop(status.incarnation, None)
        by_id = {camera.id: camera for camera in status.cameras}
        self.epoch_floor.observe(max((camera.epoch for camera in status.cameras), default=0), now_s)
        for record in self.cameras_on(index):
            if record.id in by_id:
                record.observe(by_id[record.id], shard.fingerprints)
            else:
                record.mark_missing()
        return adopted

    def observe_epoch(self, record: CameraRecord, epoch: int, now_s: float) -> None:
        """Records the epoch of an answer. Raises CameraRecovering if the answer comes from a stale owner."""
        record.observe_epoch(epoch)
        self.epoch_floor.observe(epoch, now_s)

    def mark_shard_down(self, index: int, now_s: float, reason: str, *, is_failed: bool = False) -> None:
        """Records that a shard does not answer, so its cameras cannot answer either."""
        self.shards[index].mark_down(now_s, reason, is_failed=is_failed)
        what = "answers with an error" if is_failed else "is restarting"
        for record in self.cameras_on(index):
            record.mark_shard_down(f"shard {index} {what}")

    def mark_synced(self, now_s: float) -> None:
        """Records that the registry was read."""
        self.synced_s = now_s

    def mark_unknown_owner(self, incarnation: str, now_s: float) -> None:
        """Records that an incarnation owns a camera; if no reachable shard reports it, it is unknown since now."""
        if self.index_of(incarnation) is None:
            self.unknown_owners.setdefault(incarnation, now_s)

    def forget_unknown_owner(self, incarnation: str) -> None:
        """Records that this incarnation owns nothing that this fleet wants, as far as it knows."""
        self.unknown_owners.pop(incarnation, None)

    def mark_revoked(self, incarnation: str, now_s: float) -> None:
        """Records that a lease was revoked. Forgets earlier ones, after which each may be revoked again."""
        self.revoked_s = {other: at_s for other, at_s in self.revoked_s.items() if now_s - at_s < _REVOKED_KEPT_S}
        self.revoked_s[incarnation] = now_s

    def mark_balanced(self, incarnations: tuple[str | None, ...]) -> None:
        """Records that the cameras are spread evenly over these shards."""
        self.balanced_shards = incarnations

    def mark_pressure(self, pressure: Pressure, now_s: float) -> None:
        """Records what speaks for another number of shards from now on."""
        self.size = replace(self.size, pressure=pressure, pressure_since_s=now_s)

    def expect(self, generation: str) -> None:
        """Records which generation the shards shall be of; empty: any."""
        self.size = replace(self.size, generation=generation)

    def mark_moved(self, now_s: float) -> None:
        """Records that a camera moved, so that the shards' load says nothing for a while."""
        self.load_settled_s = now_s + _LOAD_SETTLE_S

    def apply_shards(self, shards: Sequence[Shard], numbers: ShardNumbers) -> None:
        """Takes over other numbers of shards: new ones are added, those that are too many shall be emptied.

        shards: the started ones, by index.
        """
        self.size = replace(self.size, numbers=numbers, pressure=Pressure.NONE)
        for index, shard in enumerate(shards):
            if index == len(self.shards):
                self.shards.append(ShardRecord(shard, is_up=False))
                self._cameras_by_shard.append({})
            elif self.shards[index].is_ended or self.shards[index].shard is not shard:
                self.shards[index] = ShardRecord(shard, is_up=False)
        for index, record in enumerate(self.shards):
            if record.is_retiring and index < numbers.target:
                self.balanced_shards = ()
            record.mark_retiring(is_retiring=index >= numbers.target)
            if index >= len(shards):
                record.mark_ended()

    def _adopt(self, index: int, status: ShardStatus) -> list[tuple[CameraRecord, int]]:
        """Records cameras that this shard owns by now, e.g. after an assignment whose reply was lost."""
        adopted = []
        for camera in status.cameras:
            record = self.cameras_by_id.get(camera.id)
            # While an action on the camera runs, the report may be older than the action.
            if record is None or record.shard_index == index or record.lock.locked():
                continue
            is_owner = camera.epoch and camera.epoch >= record.newest_epoch
            # The store lost every record of the camera, and no other owner was seen since: this may be the only memory.
            is_kept = camera.state is CameraState.RECOVERING and not record.newest_epoch
            if is_kept or (is_owner and camera.state is not CameraState.RECOVERING):
                adopted.append((record, record.shard_index))
                self.reassign(record, index)
        return adopted
