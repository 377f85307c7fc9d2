"""What operators see of cameras and shards: immutable copies of a fleet's records."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cameras import CameraSpec, CameraStatus


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera as it shall be, its status and the index of its shard."""

    spec: CameraSpec
    status: CameraStatus
    shard_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardView:
    """A shard's process and its cameras.

    node: its machine or pod; slots: the most cameras that it can hold. is_failed: it answers with an error that nobody
    foresaw. is_starting: it was asked for and has not answered yet. detail: why it is not up, or takes no cameras.
    ingest_share, max_ingest_share: see ShardStatus.
    is_spare: it is kept empty for the cameras of a shard that goes down. resident_nbytes, device_nbytes: what its
    process takes of main memory and of its device, 0 where unknown.
    """

    index: int
    pid: int | None
    node: str
    is_up: bool
    is_draining: bool
    cameras: tuple[str, ...]
    slots: int
    busy_share: float
    ingest_share: float = 0.0
    max_ingest_share: float = 0.0
    is_failed: bool = False
    is_starting: bool = False
    detail: str = ""
    is_spare: bool = False
    resident_nbytes: int = 0
    device_nbytes: int = 0


@dataclass(frozen=True, slots=True)
class DrainResult:
    """A shard after a drain, and the cameras that stayed: name and reason of each."""

    shard: ShardView
    not_moved: tuple[tuple[str, str], ...]
