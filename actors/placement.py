"""What the fleet notes of cameras and shards, and how that reads. Talks to nobody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from actors import shard
from actors.errors import CameraRecovering
from cache_store import leases
from pipeline import cameras

_WATCHED = (cameras.CameraState.LIVE, cameras.CameraState.STALLED, cameras.CameraState.ENDED)


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
        self.status = replace(self.status, state=cameras.CameraState.RECOVERING, detail=why)

    @property
    def _not_back(self) -> str:
        return f"not back yet on shard {self.shard_index}"


@dataclass(slots=True)
class Place:
    """A shard as the fleet sees it. `changing` is held while a camera is added to it or removed from it.

    incarnation: as which owner it last spoke; gone: that this owner may be followed.
    """

    shard: shard.Shard
    is_up: bool = True
    incarnation: str | None = None
    gone: leases.Gone | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


def is_undecided(status: cameras.CameraStatus) -> bool:
    """Whether a camera is still being opened for the first time; a detail says that this failed."""
    return status.state is cameras.CameraState.CONNECTING and not status.detail


def refusal(status: cameras.CameraStatus, waited_s: float) -> cameras.CameraError | None:
    """Why a camera that was just added is of no use, None if it is."""
    if status.state is cameras.CameraState.FAILED:
        return cameras.SourceInvalid(status.detail)
    if status.state is cameras.CameraState.CONNECTING:
        late = f"camera {status.name!r}: no frame within {waited_s:.0f} s of {status.url}"
        return cameras.SourceUnreachable(status.detail or late)
    return None
