"""A world without time or network in which plans are carried out at once: what is, as simple data."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.fleet.actions import (
    Action,
    Assign,
    Drop,
    EndShard,
    FinishRemoval,
    Move,
    NoteBalance,
    NotePressure,
    Release,
    Replace,
    Resize,
    Revoke,
    Update,
    Wait,
)
from actors.fleet.plan import plan
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.snapshot import SizeSnapshot
from actors.fleet.state import FleetState
from actors.shard.interface import Assignment, ShardStatus
from cache_store.leases import LeaseExpiry
from pipeline.cameras import CameraSpec, CameraState, CameraStatus
from tests.actors.scripted import ScriptedShard


@dataclass
class ModelCamera:
    """A camera on a shard, in one epoch of its owner and with one revision of its spec."""

    epoch: int
    revision: int = 0


@dataclass
class ModelShard:
    """is_expired: its process has ended and its lease too. starts_in: observations until it answers for the first time.

    load: the share of the time in which the device works for one camera.
    """

    slots: int = 4
    is_up: bool = True
    is_expired: bool = False
    is_draining: bool = False
    starts_in: int = 0
    load: float = 0.0
    generation: str = ""
    fingerprints: tuple[str, ...] = ()
    cameras: dict[str, ModelCamera] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.is_up and not self.is_draining and len(self.cameras) < self.slots


class World:
    """Shards, the fleet's state of them, and every action that plans have asked for."""

    def __init__(self, shards: list[ModelShard], size: SizeSnapshot | None = None, *, step_s: float = 1.0) -> None:
        self.shards = shards
        self.state = FleetState([ScriptedShard() for _ in shards], size)
        self.step_s = step_s
        self.load = 0.0  # of shards that start from now on
        self.epochs: dict[str, int] = {}
        self.actions: list[Action] = []
        self.now_s = 100.0

    def want(self, camera_id: str, *, revision: int = 0) -> None:
        spec = CameraSpec(name=camera_id, url="sim:street")
        self.state.add(Assignment(id=camera_id, spec=spec, started_s=0.0, revision=revision))

    def put(self, camera_id: str, index: int, *, revision: int = 0) -> None:
        """Makes the shard the newest owner of the camera."""
        self.epochs[camera_id] = self.epochs.get(camera_id, 0) + 1
        self.shards[index].cameras[camera_id] = ModelCamera(self.epochs[camera_id], revision)

    def run(self, seconds: int) -> None:
        for _ in range(int(seconds / self.step_s)):
            self.step()

    def step(self) -> None:
        """Observes, plans and acts once; a step of time passes."""
        self.now_s += self.step_s
        self.state.mark_synced(self.now_s)
        for index, shard in enumerate(self.shards):
            self._observe(index, shard)
        for action in plan(self.state.snapshot(self.now_s)):
            self.actions.append(action)
            self._perform(action)

    def owners(self, camera_id: str) -> list[int]:
        return [index for index, shard in enumerate(self.shards) if shard.is_up and camera_id in shard.cameras]

    def _observe(self, index: int, shard: ModelShard) -> None:
        record = self.state.shards[index]
        if record.is_ended:
            return
        if shard.starts_in:
            shard.starts_in -= 1
            self.state.mark_shard_down(index, self.now_s, f"shard {index}: waits for a node")
            return
        if not shard.is_up:
            if record.incarnation is None:
                self.state.observe(index, ShardStatus(pid=index, incarnation=str(index), cameras=()), self.now_s)
            self.state.mark_shard_down(index, self.now_s, "down")
            record.mark_expiry(LeaseExpiry(str(index), 1) if shard.is_expired else None)
            return
        cameras = tuple(
            CameraStatus(
                id=camera_id,
                name=camera_id,
                url="sim:street",
                state=CameraState.LIVE,
                epoch=camera.epoch,
                revision=camera.revision,
            )
            for camera_id, camera in shard.cameras.items()
        )
        status = ShardStatus(
            pid=index,
            incarnation=str(index),
            cameras=cameras,
            slots=shard.slots,
            busy_share=min(1.0, shard.load * len(shard.cameras)),
            is_draining=shard.is_draining,
            generation=shard.generation,
            fingerprints=shard.fingerprints,
        )
        self.state.observe(index, status, self.now_s)

    def _perform(self, action: Action) -> None:
        match action:
            case Assign():
                self._assign(action.camera_id, action.shard)
            case Move():
                self._assign(action.camera_id, action.to_shard)
                if self.shards[action.to_shard].cameras.get(action.camera_id):
                    self.shards[action.from_shard].cameras.pop(action.camera_id, None)
            case Update():
                self.shards[action.shard].cameras[action.camera_id].revision = self._revision(action.camera_id)
            case Drop() | Release():
                del self.shards[action.shard].cameras[action.camera_id]
            case FinishRemoval():
                for shard in self.shards:
                    shard.cameras.pop(action.camera_id, None)
                self.state.end_removal(action.camera_id)
            case Revoke():
                self.state.mark_revoked(action.incarnation, self.now_s)
                self.shards[int(action.incarnation)].is_expired = True
            case NoteBalance():
                self.state.mark_balanced(action.incarnations)
            case Resize():
                self._apply(self.state.size.numbers.resized(action.target, action.reason))
            case EndShard():
                assert self.shards[action.shard].cameras == {}
                self._apply(self.state.size.numbers.ended(action.shard))
            case Replace():
                assert self.shards[action.shard].cameras == {}
                assert all(shard.is_up and not shard.starts_in for shard in self.shards)
                self.state.shards[action.shard].mark_ended()
                self._apply(self.state.size.numbers)
            case NotePressure():
                self.state.mark_pressure(action.pressure, self.now_s)
            case Wait():
                pass

    def _apply(self, numbers: ShardNumbers) -> None:
        """Shards that are started anew need some time."""
        for index in range(numbers.started):
            if index == len(self.shards):
                self.shards.append(self._started())
            elif self.state.shards[index].is_ended:
                self.shards[index] = self._started()
        present = [record.shard for record in self.state.shards]
        new = [ScriptedShard() for _ in range(numbers.started - len(present))]
        self.state.apply_shards([*present, *new][: numbers.started], numbers)

    def _started(self) -> ModelShard:
        return ModelShard(starts_in=3, load=self.load, generation=self.state.size.generation)

    def _assign(self, camera_id: str, index: int) -> None:
        shard = self.shards[index]
        if camera_id in shard.cameras or shard.is_open:
            self.put(camera_id, index, revision=self._revision(camera_id))
            self.state.reassign(self.state.cameras_by_id[camera_id], index)

    def _revision(self, camera_id: str) -> int:
        return self.state.cameras_by_id[camera_id].assignment.revision
