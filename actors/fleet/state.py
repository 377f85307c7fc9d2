"""What the fleet notes of cameras and shards, and how that reads. Talks to nobody."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from actors.errors import CameraRecovering
from actors.shard.interface import Assignment, Shard, ShardStatus
from cache_store.leases import LeaseExpiry
from pipeline.answers import UnknownCamera
from pipeline.cameras import (
    CameraError,
    CameraSpec,
    CameraState,
    CameraStatus,
    SourceInvalid,
    SourceReason,
    SourceUnreachable,
)
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR

_WATCHED = (
    CameraState.LIVE,
    CameraState.STALLED,
    CameraState.BACKING_OFF,
    CameraState.ENDED,
)


def _already() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera's status and the index of its shard."""

    status: CameraStatus
    shard_index: int


@dataclass(slots=True)
class CameraRecord:
    """A camera that shall be watched: where, since when, and what was last heard of it.

    newest_epoch: that anybody spoke in; asked_s: when it was last asked, by the loop's clock; settled: not while it
    moves; changing: held while it is added to a shard or removed from one.
    """

    assignment: Assignment
    shard_index: int
    status: CameraStatus
    is_configured: bool = False
    is_known: bool = False  # to the registry
    newest_epoch: int = 0
    asked_s: float = 0.0
    settled: asyncio.Event = field(default_factory=_already)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def spec(self) -> CameraSpec:
        return self.assignment.spec

    @property
    def why_away(self) -> str:
        """Why it cannot be asked now."""
        return self.status.detail or self._not_back

    def shown(self) -> CameraView:
        """What is known now."""
        return CameraView(self.status, self.shard_index)

    def note(self, status: CameraStatus) -> None:
        """How it is doing, as its shard says."""
        self.status = status
        self.newest_epoch = max(self.newest_epoch, status.epoch)

    def hear(self, epoch: int) -> None:
        """Somebody begins to answer as an owner in this epoch. Raises CameraRecovering if it is over."""
        if epoch < self.newest_epoch:
            raise CameraRecovering(
                f"camera {self.spec.name!r}: an answer of epoch {epoch} came after one of {self.newest_epoch}"
            )
        self.newest_epoch = epoch

    def miss(self) -> None:
        """Its shard is up but lacks it."""
        if self.status.state in _WATCHED:
            self.recover(self._not_back)

    def recover(self, why: str) -> None:
        """It is not on its shard; its last numbers stay."""
        self.status = replace(self.status, state=CameraState.RECOVERING, detail=why, reason=None)

    @property
    def _not_back(self) -> str:
        return f"not back yet on shard {self.shard_index}"


@dataclass(slots=True)
class ShardRecord:
    """A shard as the fleet sees it.

    incarnation: as which owner it last spoke, and replaced: as which before; gone: that this owner may be followed;
    away_since_s: by the loop's clock; slots, busy_share, is_draining: as its status says.
    """

    shard: Shard
    is_up: bool = True
    is_draining: bool = False
    pid: int | None = None
    node: str = ""
    incarnation: str | None = None
    replaced: str | None = None
    gone: LeaseExpiry | None = None
    away_since_s: float | None = None
    slots: int = 0
    busy_share: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it takes cameras."""
        return self.is_up and not self.is_draining

    def hear(self, status: ShardStatus) -> None:
        """It answers, and says so of itself."""
        if self.incarnation != status.incarnation:
            self.replaced, self.incarnation, self.gone = self.incarnation, status.incarnation, None
        self.is_up, self.away_since_s, self.pid, self.node = True, None, status.pid, status.node
        self.slots, self.busy_share, self.is_draining = status.slots, status.busy_share, status.is_draining


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard as the operator sees it. node: of its machine or pod; slots: room for so many cameras."""

    index: int
    pid: int | None
    node: str
    is_up: bool
    is_draining: bool
    cameras: tuple[str, ...]
    slots: int
    busy_share: float


class FleetState:
    """Which camera is on which shard. `spares`: so many shards stay empty as long as the others have room."""

    def __init__(self, shards: Iterable[Shard], spares: int = 0) -> None:
        self.places = [ShardRecord(held) for held in shards]
        self.placed: dict[str, CameraRecord] = {}
        self._on: list[dict[str, CameraRecord]] = [{} for _ in self.places]
        self.newest_epoch = 0  # of any camera
        self._spares = spares

    @property
    def headroom(self) -> int:
        """How many cameras could still be added if the fullest shard were lost; negative: so many find no place."""
        counts = self.counts()
        free = [place.slots - counts[index] if place.is_open else 0 for index, place in enumerate(self.places)]
        return min(sum(free) - free[index] - counts[index] for index in range(len(self.places)))

    def counts(self) -> list[int]:
        """How many cameras each shard has."""
        return list(map(len, self._on))

    def find(self, name: str) -> CameraRecord:
        """Raises UnknownCamera."""
        placed = self.placed.get(name)
        if placed is None:
            known = ", ".join(sorted(self.placed)) or "none"
            raise UnknownCamera(f"camera {name[:80]!r}: not watched here (watched: {known})")
        return placed

    def place_of(self, placed: CameraRecord) -> ShardRecord:
        """The shard that a camera is on."""
        return self.places[placed.shard_index]

    def index_of(self, incarnation: str) -> int | None:
        """Which shard it is that answers as this owner."""
        known = (index for index, place in enumerate(self.places) if place.is_up and place.incarnation == incarnation)
        return next(known, None)

    def has_replaced(self, incarnation: str) -> bool:
        """Whether another process is the shard that spoke as this owner."""
        return any(place.replaced == incarnation for place in self.places)

    def put(self, assignment: Assignment, *, is_configured: bool = False) -> CameraRecord:
        """A camera that shall be watched, on the shard with the fewest, if possible one that takes cameras.

        It takes the place of another one of its name.
        """
        spec = assignment.spec
        REDACTOR.remember(spec.url)
        status = CameraStatus(name=spec.name, url=urls.redact(spec.url), state=CameraState.CONNECTING, masks=spec.masks)
        self.drop(spec.name)
        roomiest = (*self.takers(), *range(len(self.places)))[0]
        placed = CameraRecord(assignment, roomiest, status, is_configured)
        self.placed[spec.name] = self._on[roomiest][spec.name] = placed
        return placed

    def reassign(self, placed: CameraRecord, index: int) -> None:
        """The camera is on this shard from now on; of one that was dropped meanwhile nothing is counted."""
        if self.placed.get(placed.spec.name) is placed:
            del self._on[placed.shard_index][placed.spec.name]
            self._on[index][placed.spec.name] = placed
        placed.shard_index = index

    def drop(self, name: str) -> None:
        """A camera that shall be watched no more; nothing happens if it is not known."""
        placed = self.placed.pop(name, None)
        if placed is not None:
            del self._on[placed.shard_index][name]

    def on(self, index: int) -> list[CameraRecord]:
        """The cameras of a shard."""
        return list(self._on[index].values())

    def takers(self, *, but: int | None = None) -> list[int]:
        """The shards that have room for a camera, the emptiest first, spares last."""
        counts = self.counts()
        open_ = (index for index, place in enumerate(self.places) if place.is_open)
        with_room = [index for index in open_ if counts[index] < (self.places[index].slots or math.inf)]
        spared = self._spared(counts)
        ranked = sorted(with_room, key=lambda one: (one in spared, counts[one], self.places[one].busy_share))
        return [index for index in ranked if index != but]

    def in_use(self) -> list[int]:
        """The shards that take cameras, but for spares."""
        spared = self._spared(self.counts())
        return [index for index, place in enumerate(self.places) if place.is_open and index not in spared]

    def shown(self, index: int) -> ShardView:
        """What is known of a shard now."""
        place = self.places[index]
        names = tuple(sorted(placed.spec.name for placed in self.on(index)))
        return ShardView(
            index, place.pid, place.node, place.is_up, place.is_draining, names, place.slots, round(place.busy_share, 3)
        )

    def _spared(self, counts: Sequence[int]) -> set[int]:
        """The last of the empty shards, as many as shall be spared."""
        empty = [index for index, place in enumerate(self.places) if place.is_open and not counts[index]]
        return set(empty[len(empty) - min(self._spares, len(empty)) :])


def is_undecided(status: CameraStatus) -> bool:
    """Whether a camera is still being opened for the first time."""
    return status.state is CameraState.CONNECTING


def refusal(status: CameraStatus, waited_s: float) -> CameraError | None:
    """Why a camera that was just added is of no use, None if it is."""
    # What its feed would do next is done for no camera that is not kept.
    why = f"{status.detail.partition('; try ')[0]}; the camera was not added"
    if status.state is CameraState.FAILED:
        return SourceInvalid(why, status.reason or SourceReason.UNKNOWN)
    if status.state is CameraState.BACKING_OFF:
        return SourceUnreachable(why, status.reason or SourceReason.UNKNOWN)
    if status.state is CameraState.CONNECTING:
        late = f"camera {status.name!r}: no frame within {waited_s:.0f} s of {status.url}; the camera was not added"
        return SourceUnreachable(late, SourceReason.NO_ANSWER)
    return None
