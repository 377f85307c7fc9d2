"""What a fleet records of its cameras. Only the records' own classes and FleetState assign their fields."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from actors.errors import CameraRecovering
from actors.fleet.snapshot import CameraSnapshot, RemovalSnapshot
from actors.fleet.views import CameraView
from actors.shard.interface import Assignment
from pipeline.cameras import CameraSpec, CameraState, CameraStatus
from pipeline.network.url_redaction import redact

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

    What a plan depends on is kept as one snapshot, replaced when it changes: of ten thousand cameras, most are the same
    in the next plan. wait_reason: why the camera cannot be assigned or moved now; lock: taken while an action on
    the camera runs; clock: Unix time.
    """

    assignment: Assignment
    status: CameraStatus
    _snapshot: CameraSnapshot
    wait_reason: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    clock: Callable[[], float] = time.time
    _settled: asyncio.Event = field(default_factory=_set_event)

    @classmethod
    def of(cls, assignment: Assignment, shard_index: int, clock: Callable[[], float]) -> CameraRecord:
        """The record of a camera that no shard has reported yet."""
        spec = assignment.spec
        status = CameraStatus(
            id=assignment.id,
            name=spec.name,
            url=redact(spec.url),
            state=CameraState.CONNECTING,
            masks=spec.masks,
            state_since_s=clock(),
        )
        snapshot = CameraSnapshot(id=assignment.id, shard=shard_index, revision=assignment.revision)
        return cls(assignment, status, snapshot, clock=clock)

    @property
    def id(self) -> str:
        return self.assignment.id

    @property
    def spec(self) -> CameraSpec:
        return self.assignment.spec

    @property
    def shard_index(self) -> int:
        return self._snapshot.shard

    @property
    def newest_epoch(self) -> int:
        return self._snapshot.newest_epoch

    @property
    def retry_at_s(self) -> float:
        return self._snapshot.retry_at_s

    @property
    def fingerprint(self) -> str:
        return self._snapshot.fingerprint

    @property
    def is_refused(self) -> bool:
        return self._snapshot.is_refused

    @property
    def log_fields(self) -> dict[str, object]:
        """What each log line about the camera says of it: name, id, and the newest epoch that was seen, if any was."""
        return _log_fields(self.spec.name, self.id, self.newest_epoch)

    @property
    def unavailable_reason(self) -> str:
        """Why the camera cannot answer now. What its shard reported last is about its source."""
        is_known = self.is_refused or self.status.state in (CameraState.RECOVERING, CameraState.WAITING)
        return (self.status.detail if is_known else "") or self._not_restored

    def view(self) -> CameraView:
        """An immutable copy for operators."""
        return CameraView(self.spec, self.status, self.shard_index)

    def snapshot(self) -> CameraSnapshot:
        """What a plan depends on; the same object as before unless something of it changed."""
        if self._snapshot.is_busy != self.lock.locked():
            self._snapshot = replace(self._snapshot, is_busy=self.lock.locked())
        return self._snapshot

    def reassign(self, shard_index: int) -> None:
        """Records that the camera is on this shard."""
        self._snapshot = replace(self._snapshot, shard=shard_index)

    def observe(self, status: CameraStatus, fingerprints: Sequence[str]) -> None:
        """Records the status that the camera's shard reports. fingerprints: of the shard, see ShardStatus."""
        self.status = status
        newest_epoch, fingerprint = max(self.newest_epoch, status.epoch), self.fingerprint
        if status.state is not CameraState.RECOVERING and status.epoch == newest_epoch:
            fingerprint = fingerprints[0] if fingerprints else ""
        if newest_epoch > self.newest_epoch or fingerprint != self.fingerprint or self.is_refused:
            self._snapshot = replace(
                self._snapshot, newest_epoch=newest_epoch, is_refused=False, fingerprint=fingerprint
            )

    def observe_epoch(self, epoch: int) -> None:
        """Fences stale owners: raises CameraRecovering if an answer comes from an epoch older than the newest."""
        if epoch < self.newest_epoch:
            raise CameraRecovering(
                f"camera {self.spec.name!r}: refused the answer of a stale owner, epoch {epoch} "
                f"(newest {self.newest_epoch}); try again"
            )
        if epoch > self.newest_epoch:
            self._snapshot = replace(self._snapshot, newest_epoch=epoch)

    def update(self, assignment: Assignment) -> None:
        """Records another spec of the same camera."""
        self.assignment = assignment
        self.status = replace(self.status, url=redact(self.spec.url), masks=self.spec.masks)
        self._snapshot = replace(self._snapshot, revision=assignment.revision, is_refused=False, retry_at_s=0.0)

    def mark_question(self, now_s: float) -> None:
        """Records the time of a question: cameras with recent questions are restored first and moved last."""
        self._snapshot = replace(self._snapshot, last_question_s=now_s)

    def postpone(self, retry_at_s: float) -> None:
        """Records when the next action on the camera may start."""
        self._snapshot = replace(self._snapshot, retry_at_s=retry_at_s)

    def mark_waiting(self, reason: str) -> bool:
        """Records why the camera cannot be assigned or moved now. -> whether that is news"""
        is_news, self.wait_reason = reason != self.wait_reason, reason
        return is_news

    def mark_missing(self) -> None:
        """Records that the camera's shard is up but does not have the camera."""
        if self.status.state in _WATCHED:
            self.mark_recovering(self._not_restored)

    def mark_recovering(self, reason: str) -> None:
        """Records that the camera is on no shard now. The figures of its last status stay."""
        self._enter(CameraState.RECOVERING, reason)

    def mark_shard_down(self, reason: str) -> None:
        """Records that the camera's shard does not answer. One that waits for a slot still waits."""
        if self.status.state is not CameraState.WAITING:
            self.mark_recovering(reason)

    def mark_without_slot(self, reason: str) -> None:
        """Records that no shard has a free slot for the camera now, and what the camera waits for."""
        self._enter(CameraState.WAITING, reason)

    def mark_refused(self, reason: str) -> None:
        """Records that no shard can watch the camera as it is specified."""
        self._snapshot = replace(self._snapshot, is_refused=True)
        self._enter(CameraState.FAILED, reason)

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

    def _enter(self, state: CameraState, detail: str) -> None:
        since_s = self.status.state_since_s if self.status.state is state else self.clock()
        self.status = replace(self.status, state=state, detail=detail, reason=None, note=None, state_since_s=since_s)

    @property
    def _not_restored(self) -> str:
        return f"not restored yet on shard {self.shard_index}"


@dataclass(slots=True)
class RemovalRecord:
    """A camera that was removed and of which something may be left.

    shard_index: where it was, None if unknown here; epoch: the newest that was seen, 0 if none was.
    """

    id: str
    name: str
    shard_index: int | None = None
    epoch: int = 0
    retry_at_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def log_fields(self) -> dict[str, object]:
        """What each log line about the removal says of the camera; see CameraRecord.log_fields."""
        return _log_fields(self.name, self.id, self.epoch)

    def fence(self, epoch: int) -> None:
        """Records the epoch from which on nothing owns the camera."""
        self.epoch = epoch

    def snapshot(self) -> RemovalSnapshot:
        """An immutable copy for a plan."""
        return RemovalSnapshot(id=self.id, retry_at_s=self.retry_at_s, is_busy=self.lock.locked())

    def postpone(self, retry_at_s: float) -> None:
        """Records when the removal may be tried again."""
        self.retry_at_s = retry_at_s


def _log_fields(name: str, camera_id: str, epoch: int) -> dict[str, object]:
    fields: dict[str, object] = {"camera": name, "camera_id": camera_id}
    return fields | ({"epoch": epoch} if epoch else {})
