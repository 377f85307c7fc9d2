"""What the fleet notes of cameras and shards, and how that reads. Talks to nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from actors import shard
from actors.errors import CameraRecovering
from cache_store import leases
from pipeline import answers, cameras, urls
from pipeline.redaction import REDACTOR

_WATCHED = (
    cameras.CameraState.LIVE,
    cameras.CameraState.STALLED,
    cameras.CameraState.BACKING_OFF,
    cameras.CameraState.ENDED,
)


def _already() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(frozen=True, slots=True)
class PlacedCamera:
    """A camera's status and the index of its shard."""

    status: cameras.CameraStatus
    shard_index: int


@dataclass(slots=True)
class Placed:
    """A camera that shall be watched: where, since when, and what was last heard of it."""

    assignment: shard.Assignment
    shard_index: int
    status: cameras.CameraStatus
    newest_epoch: int = 0  # that anybody spoke in
    settled: asyncio.Event = field(default_factory=_already)  # not while it moves

    @property
    def spec(self) -> cameras.CameraSpec:
        return self.assignment.spec

    @property
    def why_away(self) -> str:
        """Why it cannot be asked now."""
        return self.status.detail or self._not_back

    def shown(self) -> PlacedCamera:
        """What is known now."""
        return PlacedCamera(self.status, self.shard_index)

    def note(self, status: cameras.CameraStatus) -> None:
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
        self.status = replace(self.status, state=cameras.CameraState.RECOVERING, detail=why, reason=None)

    @property
    def _not_back(self) -> str:
        return f"not back yet on shard {self.shard_index}"


@dataclass(slots=True)
class Place:
    """A shard as the fleet sees it. `changing` is held while a camera is added to it or removed from it.

    incarnation: as which owner it last spoke; gone: that this owner may be followed; is_draining: it gets no new ones.
    """

    shard: shard.Shard
    is_up: bool = True
    is_draining: bool = False
    pid: int | None = None
    incarnation: str | None = None
    gone: leases.Gone | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_open(self) -> bool:
        """Whether it takes cameras."""
        return self.is_up and not self.is_draining


@dataclass(frozen=True, slots=True)
class PlacedShard:
    """A shard as the operator sees it."""

    index: int
    pid: int | None
    is_up: bool
    is_draining: bool
    cameras: tuple[str, ...]


class Board:
    """Which camera is on which shard."""

    def __init__(self, shards: Iterable[shard.Shard]) -> None:
        self.places = [Place(held) for held in shards]
        self.placed: dict[str, Placed] = {}

    @property
    def newest_epoch(self) -> int:
        """Of any camera."""
        return max((placed.newest_epoch for placed in self.placed.values()), default=0)

    def find(self, name: str) -> Placed:
        """Raises UnknownCamera."""
        placed = self.placed.get(name)
        if placed is None:
            known = ", ".join(sorted(self.placed)) or "none"
            raise answers.UnknownCamera(f"camera {name[:80]!r}: not watched here (watched: {known})")
        return placed

    def place_of(self, placed: Placed) -> Place:
        """The shard that a camera is on."""
        return self.places[placed.shard_index]

    def put(self, assignment: shard.Assignment) -> Placed:
        """A camera that shall be watched, on the shard with the fewest, if possible one that takes cameras."""
        spec = assignment.spec
        REDACTOR.remember(spec.url)
        status = cameras.CameraStatus(
            name=spec.name, url=urls.redacted(spec.url), state=cameras.CameraState.CONNECTING, masks=spec.masks
        )
        counts = {index: len(self.on(index)) for index in range(len(self.places))}
        roomiest = min(counts, key=lambda index: (not self.places[index].is_open, counts[index]))
        self.placed[spec.name] = Placed(assignment, roomiest, status)
        return self.placed[spec.name]

    def on(self, index: int) -> list[Placed]:
        """The cameras of a shard."""
        return [placed for placed in self.placed.values() if placed.shard_index == index]

    def others(self, index: int) -> list[int]:
        """The other shards that take cameras, the emptiest first."""
        open_ = (other for other, place in enumerate(self.places) if place.is_open and other != index)
        return sorted(open_, key=lambda other: len(self.on(other)))

    def shown(self, index: int) -> PlacedShard:
        """What is known of a shard now."""
        place = self.places[index]
        names = tuple(sorted(placed.spec.name for placed in self.on(index)))
        return PlacedShard(index, place.pid, place.is_up, place.is_draining, names)


def is_undecided(status: cameras.CameraStatus) -> bool:
    """Whether a camera is still being opened for the first time."""
    return status.state is cameras.CameraState.CONNECTING


def refusal(status: cameras.CameraStatus, waited_s: float) -> cameras.CameraError | None:
    """Why a camera that was just added is of no use, None if it is."""
    if status.state is cameras.CameraState.FAILED:
        return cameras.SourceInvalid(status.detail, status.reason or cameras.Reason.UNKNOWN)
    if status.state is cameras.CameraState.BACKING_OFF:
        return cameras.SourceUnreachable(status.detail, status.reason or cameras.Reason.UNKNOWN)
    if status.state is cameras.CameraState.CONNECTING:
        late = f"camera {status.name!r}: no frame within {waited_s:.0f} s of {status.url}"
        return cameras.SourceUnreachable(late, cameras.Reason.NO_ANSWER)
    return None
