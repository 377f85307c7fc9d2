"""All shards as one: cameras are added, moved, asked and removed here. Knows neither Ray nor gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from actors.errors import ScalingConflict
from actors.fleet import figures, shard_views
from actors.fleet.camera_commands import CameraCommands
from actors.fleet.camera_presence import CameraPresence
from actors.fleet.configured_cameras import ConfiguredCameras, Precedence
from actors.fleet.desired_state import DesiredState
from actors.fleet.drains import Drains
from actors.fleet.executor import Executor
from actors.fleet.headroom import Headroom
from actors.fleet.mover import Mover
from actors.fleet.observer import Observer
from actors.fleet.placement import Placement
from actors.fleet.question_router import QuestionRouter
from actors.fleet.reconciler import Reconciler
from actors.fleet.registry import CameraRegistry
from actors.fleet.removal import MemoryEraser, Remover
from actors.fleet.scaler import FleetSize, Scaler
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.state import FleetState
from actors.fleet.store_contact import StoreContact
from actors.fleet.views import CameraView, DrainResult, ShardView
from actors.loops import run_forever
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import IsLeader
from pipeline.cameras import CameraSpec
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.sources.probe import ProbeResult

log = structlog.get_logger(__name__)


class Fleet:
    """All shards as one, owned by one event loop. Of several fleets over the same shards one leads, others observe.
    figures: the fleet in numbers.
    """

    def __init__(
        self,
        size: FleetSize,
        failure_detector: FailureDetector,
        registry: CameraRegistry,
        eraser: MemoryEraser,
        *,
        is_leader: IsLeader = lambda: True,
        open_timeout_s: float = 12.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = FleetState(size.pool.of(size.numbers), size.snapshot(), clock=clock)
        self._scaler = Scaler(self._state, size, on_change=self._wake)
        self._observer = Observer(self._state, failure_detector)
        self._desired = DesiredState(self._state, registry, is_leader, clock=clock)
        placement = Placement(self._state, self._desired, failure_detector)
        presence = CameraPresence(self._state, self._desired)
        self._mover, remover = Mover(self._state, placement, presence), Remover(self._state, registry, eraser)
        executor = Executor(
            self._state, failure_detector, placement, self._mover, remover, self._scaler, on_end=self._wake
        )
        self._reconciler = Reconciler(self._state, self._observer, executor, is_leader)
        self._drains = Drains(self._state, self._observer, self._reconciler, executor, is_leader)
        self._commands = CameraCommands(
            self._state, self._desired, self._observer, placement, remover, open_timeout_s=open_timeout_s
        )
        self.ask = QuestionRouter(self._state, presence, self._observer).ask
        self._is_leader = is_leader
        self._store_contact = StoreContact(clock)
        self._headroom = Headroom(self._state)
        self.figures = partial(figures.of_fleet, self._state, self._mover, self._headroom, is_leader)

    @property
    def is_ready(self) -> bool:
        """Whether questions can be routed: a shard was seen to answer, or there is no camera to ask."""
        return figures.is_ready(self._state)

    @property
    def headroom(self) -> int:
        """See Headroom.cameras."""
        return self._headroom.cameras

    @property
    def store_away_since_s(self) -> float | None:
        """When the store last answered, in Unix seconds; None while it answers."""
        return self._store_contact.away_since_s

    def started_s(self, name: str) -> float:
        """When the camera was added, in Unix seconds: second 0 of a file. Raises UnknownCamera."""
        return self._state.find(name).assignment.started_s

    def configure(
        self, cameras: Iterable[CameraSpec], precedence: Callable[[], Precedence] = lambda: Precedence.NEWEST
    ) -> None:
        """Takes the cameras of the configuration. precedence: of this configuration over those of other servers.

        Reconciliation assigns them and keeps trying to open their sources. One of the same source keeps its memory.
        """
        self._desired.configure(ConfiguredCameras(cameras, precedence))

    @property
    def shard_numbers(self) -> ShardNumbers:
        """How many shards there shall be."""
        return self._scaler.numbers

    def adopt(self, settings: ShardNumbers) -> None:
        """Takes over the limits of newer settings while it runs: cameras of shards that are too many move away."""
        self._scaler.adopt(settings)

    def expect(self, generation: str) -> None:
        """Takes over which generation the shards shall be of; empty: any, because newer servers see to them."""
        self._state.expect(generation)

    async def scale(self, fewest: int, most: int) -> ShardNumbers:
        """Sets the numbers for every server. Raises InvalidRequest, ScalingConflict, StoreUnavailable."""
        return await self._scaler.set_limits(fewest, most)

    async def run(self) -> None:
        """Reconciles until cancelled."""
        await asyncio.gather(self._reconciler.run(), run_forever(self._maintain, every_s=1.0))

    async def reconcile(self) -> None:
        """Brings the shards to what shall be, once, which depends on what they watch. Raises StoreUnavailable."""
        await self._follow()  # first: what a shard watches that the store has forgotten is taken up with its memory
        await self._observer.observe_all()
        await self._desired.sync()
        await self._reconciler.run_once()

    async def add_camera(self, spec: CameraSpec) -> CameraView:
        """Adds a camera, for every later system too, and waits for its first frame. Adding it again changes nothing.

        Raises CameraExists, TooManyCameras, InvalidCamera, SourceInvalid, SourceUnreachable, StoreUnavailable and
        ShardUnavailable; then the camera is not added.
        """
        await self._desired.sync()
        return await self._commands.add(spec)

    async def update_camera(
        self, name: str, change: Callable[[CameraSpec], CameraSpec], *, allow_memory_loss: bool = False
    ) -> CameraView:
        """Changes a camera's spec and keeps its memory. A shard that is away takes the new spec over later.

        With another source it becomes another camera, with an empty memory, if that is allowed. Raises UnknownCamera,
        InvalidCamera, SourceChanged, CameraChanged, StoreUnavailable; then nothing is changed.
        """
        await self._desired.sync()
        spec = change(self._state.find(name).spec)
        return await self._commands.update(spec, allow_memory_loss=allow_memory_loss)

    async def erase_memory(self, name: str) -> CameraView:
        """Empties a camera's memory and deletes its checkpoints; the camera goes on watching.

        Raises UnknownCamera, ShardUnavailable, CameraRecovering, OwnershipUnproven, StoreError.
        """
        return await self._commands.erase(name)

    async def test_camera(self, url: str, tls: TlsRules = USUAL_RULES) -> ProbeResult:
        """Probes a URL from the emptiest shard that is up. Raises InvalidCamera, TooManyTests, ShardUnavailable."""
        return await self._commands.test(url, tls)

    async def remove_camera(self, name: str) -> None:
        """Ends a camera and deletes its memory and checkpoints. Returns when nothing of it is left.

        Raises UnknownCamera, and StoreUnavailable before the removal has begun: then the camera is watched as before.
        Raises StoreError and ShardUnavailable after that: the removal goes on, and a repeated call waits for its end.
        """
        await self._desired.sync()
        await self._commands.remove(name)

    async def get_camera(self, name: str) -> CameraView:
        """The present status of a camera. Raises UnknownCamera."""
        record = self._state.find(name)
        await self._observer.observe(record.shard_index)
        return record.view()

    async def list_cameras(self, *, shard: int | None = None) -> list[CameraView]:
        """The present status of all cameras, or of those on one shard, sorted by name. Raises InvalidShard."""
        if shard is not None:
            self._scaler.require_shard(shard)
        await self._observer.observe_all()
        records = self._state.cameras.values() if shard is None else self._state.cameras_on(shard)
        return [record.view() for record in sorted(records, key=lambda record: record.spec.name)]

    async def list_shards(self) -> list[ShardView]:
        """The present status of all shards."""
        await self._observer.observe_all()
        return shard_views.of_all(self._state)

    async def move_camera(self, name: str, to_shard: int | None = None) -> CameraView:
        """Moves a camera with all tiers of its memory, by default to the emptiest other shard.

        Questions wait meanwhile. Raises UnknownCamera, InvalidShard, TooManyCameras, StoreError, ShardUnavailable and
        CameraRecovering; then the camera stays on its shard. InvalidShard also if the other shard's model cannot read
        the memory.
        """
        record = self._state.find(name)
        if to_shard is not None:
            self._scaler.require_shard(to_shard)
        await self._mover.move(record, self._mover.target_of(record, to_shard))
        return await self.get_camera(name)

    async def drain(self, index: int, *, force: bool = False) -> DrainResult:
        """Moves every camera of a shard away. It accepts no cameras until `undrain` or until its process restarts.

        A camera that finds no free slot elsewhere stays, and is named in the result with the reason. force: also if no
        other shard takes cameras. Raises InvalidShard, ShardUnavailable.
        """
        self._scaler.require_shard(index)
        return await self._drains.drain(index, force=force)

    async def undrain(self, index: int) -> ShardView:
        """Lets a shard accept cameras again. Raises InvalidShard, ShardUnavailable."""
        self._scaler.require_shard(index)
        await self._drains.undrain(index)
        return shard_views.of_one(self._state, index)

    def _wake(self) -> None:
        self._reconciler.wake()

    async def _follow(self) -> None:
        with contextlib.suppress(ScalingConflict):
            await self._scaler.follow()

    async def _maintain(self) -> None:
        """Syncs with the registry and the numbers of shards. The leader warns when failover headroom is used up."""
        with self._store_contact.trying():
            await self._follow()
            if await self._desired.sync():
                self._reconciler.wake()
        if self._is_leader():
            self._headroom.log()
