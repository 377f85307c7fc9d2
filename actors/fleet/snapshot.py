"""What a plan is made from: an immutable picture of what shall be and of what is, at one moment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from actors.config.shards import ScalingConfig
from actors.fleet.shard_numbers import ShardNumbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedCamera:
    """A camera as its shard reports it.

    epoch: of its owner, 0 where the shard does not own it. revision: of the spec that it is watched with.
    unwanted_since_s: since when nobody wants it on this shard, None where somebody does.
    """

    epoch: int = 0
    revision: int = 0
    is_owned: bool = True
    unwanted_since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSnapshot:
    """A shard as last observed.

    detail: why it does not answer. is_retiring: fewer shards are wanted, so it shall be emptied and end. is_ended: it
    has. has_expired: its lease is proven to have expired. down_since_s: since when it does not answer. slots: 0 where
    unknown. standby: ids of cameras that it stands by for. num_busy: actions on it that run now. fingerprints: see
    ShardStatus.
    """

    index: int
    incarnation: str | None = None
    detail: str = ""
    previous_incarnation: str | None = None
    is_up: bool = True
    is_draining: bool = False
    is_retiring: bool = False
    is_ended: bool = False
    has_expired: bool = False
    down_since_s: float | None = None
    slots: int = 0
    busy_share: float = 0.0
    num_busy: int = 0
    generation: str = ""
    cameras: Mapping[str, ReportedCamera] = field(default_factory=dict)
    standby: frozenset[str] = frozenset()
    fingerprints: tuple[str, ...] = ()

    @property
    def is_starting(self) -> bool:
        """Whether it was asked for and has not answered yet."""
        return self.incarnation is None and not self.is_up and not self.is_ended

    @property
    def is_accepting(self) -> bool:
        """Whether it takes more cameras, as far as it has free slots."""
        return self.is_up and not self.is_draining and not self.is_retiring

    @property
    def fingerprint(self) -> str:
        """Of the memories that it writes; empty where unknown."""
        return self.fingerprints[0] if self.fingerprints else ""

    def can_read(self, fingerprint: str) -> bool:
        """Whether its model reads memories of this fingerprint."""
        return can_read(self.fingerprints, fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSnapshot:
    """A camera that shall be watched, and the shard that it is on or shall be on.

    newest_epoch: the newest that any shard reported. retry_at_s: when an action that failed may be tried again.
    is_busy: an action on it runs now. is_refused: no shard can watch it as it is specified. last_question_s: cameras
    with recent questions are restored first, moved last. fingerprint: of the model that wrote its memory, empty where
    unknown.
    """

    id: str
    shard: int
    revision: int = 0
    newest_epoch: int = 0
    last_question_s: float = 0.0
    retry_at_s: float = 0.0
    is_busy: bool = False
    is_refused: bool = False
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalSnapshot:
    """A camera whose removal is not finished."""

    id: str
    retry_at_s: float = 0.0
    is_busy: bool = False


class Pressure(StrEnum):
    """What speaks for another number of shards."""

    NONE = "none"
    OVERLOAD = "overload"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSnapshot:
    """How many shards there shall be, and what speaks for another number.

    slots: of a shard that has not answered yet. pressure_since_s: since when `pressure` is what it is. generation: that
    all shards shall run, see `actors.generation`; empty: any.
    """

    numbers: ShardNumbers = field(default_factory=ShardNumbers)
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    slots: int = 16
    pressure: Pressure = Pressure.NONE
    pressure_since_s: float = 0.0
    generation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """Everything that a plan depends on. All times are of one monotonic clock.

    synced_s: when this fleet last read from the store which cameras shall be watched. unknown_owners: incarnations that
    own a camera and that no reachable shard reports, since when. revoked_s: when a lease was last revoked.
    balanced_shards: the incarnations among which the cameras were last spread evenly. load_settled_s: before this time
    the shards' load says nothing.
    """

    now_s: float
    is_leader: bool = True
    synced_s: float = 0.0
    size: SizeSnapshot = field(default_factory=SizeSnapshot)
    shards: tuple[ShardSnapshot, ...] = ()
    cameras: Mapping[str, CameraSnapshot] = field(default_factory=dict)
    removals: Mapping[str, RemovalSnapshot] = field(default_factory=dict)
    unknown_owners: Mapping[str, float] = field(default_factory=dict)
    revoked_s: Mapping[str, float] = field(default_factory=dict)
    balanced_shards: tuple[str | None, ...] = ()
    load_settled_s: float = 0.0

    @property
    def outdated(self) -> tuple[ShardSnapshot, ...]:
        """The shards that run another generation than they shall."""
        return tuple(shard for shard in self.shards if shard.is_up and is_outdated(shard.generation, self.size))


def is_outdated(generation: str, size: SizeSnapshot) -> bool:
    """Whether a shard of this generation shall be replaced."""
    return bool(size.generation) and generation != size.generation


def can_read(fingerprints: Collection[str], fingerprint: str) -> bool:
    """Whether a shard that reads memories of these fingerprints reads one of that; what is unknown counts as able."""
    return not fingerprints or not fingerprint or fingerprint in fingerprints
