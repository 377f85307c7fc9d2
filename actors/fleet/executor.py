"""Carries out the actions of a plan, each in a task of its own. A failure is recorded and left to a later plan."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import structlog

from actors import task_cancellation
from actors.errors import InvalidShard, ServiceError
from actors.fleet import name_lists
from actors.fleet.actions import (
    Action,
    Assign,
    Drop,
    EndShard,
    FinishRemoval,
    Move,
    Note,
    NoteBalance,
    NotePressure,
    Release,
    Replace,
    Resize,
    Revoke,
    Update,
    Wait,
)
from actors.fleet.mover import Mover
from actors.fleet.placement import Placement
from actors.fleet.plan import NO_SLOT
from actors.fleet.records import CameraRecord
from actors.fleet.removal import Remover
from actors.fleet.scaler import Scaler
from actors.fleet.state import FleetState
from actors.ownership.failure_detector import FailureDetector
from cache_store.errors import StoreError
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraError, DeviceFull, TooManyCameras

log = structlog.get_logger(__name__)

_RETRY_S = 1.0
# What an action did is seen at the shard's next status, which is at most so old.
_SETTLE_S = 1.5


class Executor:
    """Performs actions. One event loop owns it, with the state. on_end: called when an action has ended."""

    def __init__(
        self,
        state: FleetState,
        failure_detector: FailureDetector,
        placement: Placement,
        mover: Mover,
        remover: Remover,
        scaler: Scaler,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = state
        self._failure_detector = failure_detector
        self._placement = placement
        self._mover = mover
        self._remover = remover
        self._scaler = scaler
        self._on_end = on_end
        self._running: dict[Action, asyncio.Task[None]] = {}

    def start(self, actions: Iterable[Action]) -> list[asyncio.Task[None]]:
        """Starts each action that does not run yet. -> the tasks of those that take time"""
        tasks = []
        waiting: defaultdict[str, list[str]] = defaultdict(list)  # names by a reason that is new for them
        for action in actions:
            if isinstance(action, Wait):
                waiting[action.reason] += self._note_wait(action)
            elif isinstance(action, Note):
                self._note(action)
            elif action not in self._running:
                task = self._running[action] = asyncio.create_task(self._perform(action), name=repr(action))
                task.add_done_callback(partial(self._end, action))
                tasks.append(task)
        for reason, names in waiting.items():
            if names:
                log.warning("cameras_wait", cameras=name_lists.first_names(names), reason=reason)
        return tasks

    async def stop(self) -> None:
        """Cancels what runs."""
        await task_cancellation.end(*self._running.values())

    def _end(self, action: Action, _: asyncio.Task[None]) -> None:
        self._running.pop(action, None)
        self._on_end()

    def _note(self, action: NoteBalance | NotePressure) -> None:
        if isinstance(action, NoteBalance):
            self._state.mark_balanced(action.incarnations)
        else:
            self._state.mark_pressure(action.pressure, _now_s())

    def _note_wait(self, action: Wait) -> list[str]:
        """-> the name of the camera if the reason is news"""
        record = self._state.cameras_by_id.get(action.camera_id)
        if record is None:
            return []
        shard = self._state.shard_of(record)
        if not shard.is_up or record.id not in shard.reported:
            record.mark_without_slot(action.reason)
        return [record.spec.name] if record.mark_waiting(action.reason) else []

    async def _perform(self, action: Action) -> None:
        try:
            await self._act(action)
        except Exception:  # the border of one action: the others and the next plan go on
            log.exception("action_failed", action=type(action).__name__)

    def _act(self, action: Action) -> Coroutine[Any, Any, None]:
        match action:
            case Assign():
                return self._on_camera(action.camera_id, lambda record: self._assign(record, action.shard))
            case Update():
                return self._on_camera(action.camera_id, lambda record: self._update(record, action.shard))
            case Move():
                return self._move(action)
            case Drop() | Release():
                return self._end_leftover(action)
            case FinishRemoval():
                return self._finish_removal(action)
            case Revoke():
                return self._revoke(action)
            case Resize():
                return self._scale(self._scaler.resize(action.target, action.reason))
            case EndShard():
                return self._scale(self._scaler.end(action.shard))
            case Replace():
                return self._scale(self._scaler.replace(action.shard))
            case _:
                raise AssertionError(f"{action} takes no time")

    async def _on_camera(self, camera_id: str, work: Callable[[CameraRecord], Coroutine[Any, Any, None]]) -> None:
        """Holds the camera's lock while the action runs. The camera must not have been removed meanwhile."""
        record = self._state.cameras_by_id.get(camera_id)
        if record is None or record.lock.locked():
            return
        async with record.lock:
            if self._state.cameras_by_id.get(camera_id) is record:
                record.postpone(0.0)
                await work(record)
                record.postpone(record.retry_at_s or _now_s() + _SETTLE_S)

    async def _assign(self, record: CameraRecord, index: int) -> None:
        try:
            await self._placement.place(record, index)
            record.mark_waiting("")
        except DeviceFull as error:
            record.mark_without_slot(str(error))
            record.postpone(_now_s() + _RETRY_S)
        except (TooManyCameras, InvalidShard):
            record.mark_without_slot(NO_SLOT)
        except (StoreError, ServiceError) as error:
            record.mark_recovering(str(error))
            record.postpone(_now_s() + _RETRY_S)
        except CameraError as error:
            record.mark_refused(str(error))

    async def _update(self, record: CameraRecord, index: int) -> None:
        shard = self._state.shards[index]
        try:
            with shard.acting():
                await shard.perform(shard.shard.update_camera(record.assignment))
        except (StoreError, ServiceError, UnknownCamera, CameraError) as error:
            log.warning("camera_not_updated", **record.log_fields, shard=index, reason=str(error))

    async def _move(self, action: Move) -> None:
        record = self._state.cameras_by_id.get(action.camera_id)
        if record is None or record.lock.locked() or record.shard_index != action.from_shard:
            return
        try:
            await self._mover.move(record, action.to_shard)
            record.mark_waiting("")
        except (CameraError, StoreError, ServiceError, UnknownCamera) as error:
            if record.mark_waiting(str(error)):
                log.warning("camera_not_moved", **record.log_fields, shard=action.from_shard, reason=record.wait_reason)
        record.postpone(_now_s() + _SETTLE_S)

    async def _end_leftover(self, action: Drop | Release) -> None:
        shard = self._state.shards[action.shard]
        reported = shard.reported.get(action.camera_id)
        fields = {"camera_id": action.camera_id, "epoch": reported.epoch if reported else 0, "shard": action.shard}
        try:
            with shard.acting():
                if isinstance(action, Drop):
                    await shard.perform(shard.shard.drop_camera(action.camera_id))
                    log.warning("stale_camera_ended", **fields)
                else:
                    await shard.perform(shard.shard.release_camera(action.camera_id))
                    log.warning("unwanted_camera_ended", **fields)
        except (StoreError, ServiceError, UnknownCamera) as error:
            log.info("camera_not_ended", **fields, reason=str(error))
        # If it is still there, the next status says so, and it is tried again after another grace period.
        shard.forget_reported(action.camera_id)

    async def _finish_removal(self, action: FinishRemoval) -> None:
        removal = self._state.removals.get(action.camera_id)
        if removal is None or removal.lock.locked():
            return
        try:
            await self._remover.finish(removal)
        except (StoreError, ServiceError) as error:
            removal.postpone(_now_s() + _RETRY_S)
            log.info("removal_not_finished", **removal.log_fields, reason=str(error))

    async def _scale(self, change: Coroutine[Any, Any, None]) -> None:
        try:
            await change
        except (StoreError, ServiceError) as error:
            log.info("shards_not_scaled", reason=str(error))

    async def _revoke(self, action: Revoke) -> None:
        self._state.mark_revoked(action.incarnation, _now_s())
        try:
            await self._failure_detector.retire(action.incarnation)
        except StoreError as error:
            log.debug("lease_not_revoked", incarnation=action.incarnation[:8], reason=str(error))
            return
        # Where it still owns a camera, the next assignment of that camera says so.
        self._state.forget_unknown_owner(action.incarnation)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
