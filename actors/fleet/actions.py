"""What a plan can ask for. Each action is carried out by itself, and none depends on another one of its plan."""

from __future__ import annotations

from dataclasses import dataclass

from actors.fleet.snapshot import Pressure


@dataclass(frozen=True, slots=True)
class Assign:
    """Adds a camera to a shard that shall watch it; if the shard refuses it, to another one with a free slot."""

    camera_id: str
    shard: int


@dataclass(frozen=True, slots=True)
class Update:
    """Gives a camera on its shard the newest spec."""

    camera_id: str
    shard: int


@dataclass(frozen=True, slots=True)
class Move:
    """Moves a camera with its whole memory."""

    camera_id: str
    from_shard: int
    to_shard: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Ends a copy of a camera that another shard owns by now, or that nobody owns and wants. Saves nothing."""

    camera_id: str
    shard: int


@dataclass(frozen=True, slots=True)
class Release:
    """Ends a camera that nobody wants and nobody removed, as when the store lost it. Its memory is saved."""

    camera_id: str
    shard: int


@dataclass(frozen=True, slots=True)
class FinishRemoval:
    """Ends a removed camera wherever it is, and deletes its memory and checkpoints."""

    camera_id: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Revokes the lease of an incarnation that nobody can reach, so that its cameras can be taken over."""

    incarnation: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Records why a camera cannot be assigned or moved now."""

    camera_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class NoteBalance:
    """Records that the cameras are spread evenly over these incarnations, so that later only load moves cameras."""

    incarnations: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Resize:
    """Sets how many shards there shall be. reason: why, for people."""

    target: int
    reason: str


@dataclass(frozen=True, slots=True)
class EndShard:
    """Ends the process of the last shard, which is empty and beyond the target."""

    shard: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Ends the process of an empty shard of another generation, and starts one of the newest."""

    shard: int


@dataclass(frozen=True, slots=True)
class NotePressure:
    """Records that from now on there are too few shards for the load, too many, or neither."""

    pressure: Pressure


CameraAction = Assign | Update | Move | Drop | Release | FinishRemoval
Note = Wait | NoteBalance | NotePressure  # takes no time
Action = CameraAction | Revoke | Resize | EndShard | Replace | Note
