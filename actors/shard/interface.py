"""Where cameras live: what the fleet may ask of a shard, and what it hears."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cache_store.leases import LeaseExpiry
from pipeline.answers import AnswerEvent
from pipeline.cameras import CameraSpec, CameraStatus
from pipeline.sources.probe import ProbeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A camera that a shard shall watch. `started_s`: second 0 of a file, in Unix seconds; it outlives the shard.

    floor: an epoch that its next owner must be above; gone: which earlier owner that one may follow; is_ahead: another
    shard still owns it, so for now its stream is opened and its newest clips are kept.
    """

    spec: CameraSpec
    started_s: float
    floor: int = 0
    gone: LeaseExpiry | None = None
    is_standby: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """A shard's process, as which owner it owns cameras, and the cameras that it holds.

    node: the name of its machine or pod; ahead: cameras of others whose clips it keeps, and since which frame, None
    before the first; slots: room for so many cameras; busy_share: of the device's time, lately.
    """

    pid: int
    incarnation: str
    cameras: tuple[CameraStatus, ...]
    ahead: Mapping[str, float | None] = field(default_factory=dict)
    node: str = ""
    slots: int = 0
    busy_share: float = 0.0
    is_draining: bool = False


class Shard(Protocol):
    """Where cameras live: a CameraShard, or a RemoteShard that stands for one in another process."""

    def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of one answer, Done last. Raises QuestionError, OwnershipUnproven. Closing it stops the answer."""
        ...

    async def add_camera(self, assignment: Assignment) -> None:
        """Watches a camera, its memory restored if there is a checkpoint; nothing happens if it does so already.

        If it does so in an epoch that is not above the assignment's floor, it does from now on.

        Raises CameraExists for another spec under the same name, TooManyCameras, InvalidCamera, StoreUnavailable,
        InvalidShard if it is being drained, and OwnedByAnother while another shard may still speak for it.
        """
        ...

    async def remove_camera(self, name: str, *, is_forgotten: bool, successor: str | None = None) -> None:
        """Stops the camera. Its checkpoints are deleted if it is to be forgotten, else its memory is saved whole first.

        heir: the only one who may own it next. Raises UnknownCamera, StoreUnavailable; then it goes on.
        """
        ...

    async def test_camera(self, url: str) -> ProbeResult:
        """Looks at a URL for some seconds, without watching it. Raises InvalidCamera and TooManyTests."""
        ...

    async def status(self) -> ShardStatus:
        """How the shard and its cameras are doing."""
        ...

    async def drain(self) -> None:
        """Takes no more cameras, until its process is started anew."""
        ...
