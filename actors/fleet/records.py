"""What a fleet records of its cameras and shards. Only these classes and FleetState assign the records' fields."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from actors.errors import CameraRecovering
from actors.fleet.views import CameraView
from actors.shard.interface import Assignment, Shard, ShardStatus
from cache_store.leases import LeaseExpiry
from pipeline.cameras import CameraSpec, CameraState, CameraStatus

_MOVE_TIMEOUT_S = 5.0  # a question waits this long for a camera that moves; then the client has to ask again
_WATCHED = (
    CameraState.LIVE,
    CameraState.STALLED,
    CameraState.BACKING_OFF,
    CameraState.ENDED,
)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class CameraRecord:
    """A camera that shall be watched, the shard that it is on, and its last reported status.

    is_configured: the configuration names it; is_registered: the registry has it; newest_epoch: the newest that any
    shard reported for it; last_question_s: by the event loop's clock; lock: held while the camera is added to a shard
    or removed from one.
    """

    assignment: Assignment
    shard_index: int
    status: CameraStatus
    is_configured: bool = False
    is_registered: bool = False
    newest_epoch: int = 0
    last_question_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _settled: asyncio.Event = field(default_factory=_set_event)

    @property
    def id(self) -> str:
        return self.assignment.id

    @property
    def spec(self) -> CameraSpec:
        return self.assignment.spec

    @property
    def unavailable_reason(self) -> str:
        """Why the camera cannot answer now."""
        return self.status.detail or self._not_restored

    def view(self) -> CameraView:
        """An immutable copy for operators."""
        return CameraView(self.spec, self.status, self.shard_index)

    def observe(self, status: CameraStatus) -> None:
        """Records the status that the camera's shard reports."""
        self.status = status
        self.newest_epoch = max(self.newest_epoch, status.epoch)

    def observe_epoch(self, epoch: int) -> None:
        """Fences stale owners: raises CameraRecovering if an answer comes from an epoch older than the newest."""
        if epoch < self.newest_epoch:
            raise CameraRecovering(
                f"camera {self.spec.name!r}: refused the answer of a stale owner, epoch {epoch} "
                f"(newest {self.newest_epoch}); try again"
            )
        self.newest_epoch = epoch

    def mark_registered(self) -> None:
        """Records that the registry has the camera."""
        self.is_registered = True

    def mark_question(self, now_s: float) -> None:
        """Records the time of a question: cameras with recent questions are restored first and moved last."""
        self.last_question_s = now_s

    def mark_missing(self) -> None:
        """Records that the camera's shard is up but does not have the camera."""
        if self.status.state in _WATCHED:
            self.mark_recovering(self._not_restored)

    def mark_recovering(self, reason: str) -> None:
        """Records that the camera is on no shard now. The figures of its last status stay."""
        self.status = replace(self.status, state=CameraState.RECOVERING, detail=reason, reason=None)

    def mark_failed(self, reason: str) -> None:
        """Records that no shard can watch the camera as it is specified."""
        self.status = replace(self.status, state=CameraState.FAILED, detail=reason)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Makes questions wait while the camera moves to another shard in this block."""
        self._settled.clear()
        try:
            yield
        finally:
            self._settled.set()

    async def wait_until_settled(self) -> None:
        """Waits until the camera does not move. Raises CameraRecovering after 5 s."""
        try:
            async with asyncio.timeout(_MOVE_TIMEOUT_S):
                await self._settled.wait()
        except TimeoutError:
            raise CameraRecovering(
                f"camera {self.spec.name!r}: still moving to another shard after {_MOVE_TIMEOUT_S:g} s; try again"
            ) from None

    @property
    def _not_restored(self) -> str:
        return f"not restored yet on shard {self.shard_index}"


@dataclass(slots=True)
class ShardRecord:
    """A shard's last reported status.

    incarnation: of its present process, previous_incarnation: of the process before; expiry: the proof that the present
    incarnation's lease has expired; down_since_s: by the event loop's clock; slots, busy_share, is_draining: as its
    status says.
    """

    shard: Shard
    is_up: bool = True
    is_draining: bool = False
    pid: int | None = None
    node: str = ""
    incarnation: str | None = None
    previous_incarnation: str | None = None
    expiry: LeaseExpiry | None = None
    down_since_s: float | None = None
    slots: int = 0
    busy_share: float = 0.0

    @property
    def is_accepting(self) -> bool:
        """Whether the shard takes more cameras, as far as it has free slots."""
        return self.is_up and not self.is_draining

    def observe(self, status: ShardStatus) -> None:
        """Records the status that the shard reports."""
        if self.incarnation != status.incarnation:
            self.previous_incarnation, self.incarnation, self.expiry = self.incarnation, status.incarnation, None
        self.is_up, self.down_since_s, self.pid, self.node = True, None, status.pid, status.node
        self.slots, self.busy_share, self.is_draining = status.slots, status.busy_share, status.is_draining

    def mark_down(self, now_s: float) -> None:
        """Records that the shard does not answer."""
        if self.is_up:
            self.is_up, self.down_since_s = False, now_s

    def mark_expiry(self, expiry: LeaseExpiry | None) -> None:
        """Records the proof that the shard's lease has expired; None where there is none."""
        self.expiry = expiry
