"""Routes questions to the shards of their cameras, waits for cameras that move, and fences answers of stale owners."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from actors import task_cancellation
from actors.errors import CameraRecovering, OwnershipUnproven, ShardUnavailable
from actors.fleet.camera_presence import CameraPresence
from actors.fleet.observer import Observer
from actors.fleet.records import CameraRecord
from actors.fleet.shard_record import ShardRecord
from actors.fleet.state import FleetState
from actors.shard.interface import Shard
from pipeline.answers import ANYBODY, AnswerEvent, AnswerFailed, Caller, Done, NoFrames, Started, UnknownCamera

_POLL_EVERY_S = 0.1
_MOVE_WAIT_S = 1.5  # for a shard to get the camera anew


class QuestionRouter:
    """Answers questions about the cameras of one fleet. One event loop owns it, with the state."""

    def __init__(self, state: FleetState, presence: CameraPresence, observer: Observer) -> None:
        self._state = state
        self._presence = presence
        self._observer = observer

    async def ask(
        self,
        camera: str,
        question: str,
        *,
        max_answer_tokens: int | None = None,
        caller: Caller = ANYBODY,
        trace: str = "",
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of one answer, Done last, see Shard.ask. Closing the generator cancels the answer.

        Raises QuestionError, ShardUnavailable, CameraRecovering, OwnershipUnproven, CameraChanged.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        def ask_shard(shard: Shard) -> AsyncGenerator[AnswerEvent, None]:
            left = caller.after(loop.time() - began_s)
            return shard.ask(record.id, question, max_answer_tokens=max_answer_tokens, caller=left, trace=trace)

        record = self._state.find(camera)
        record.mark_question(began_s)
        await record.wait_until_settled()
        index, has_begun = record.shard_index, False
        try:
            async with aclosing(self._ask_shard(record, ask_shard)) as events:
                async for event in events:
                    has_begun = True
                    yield event
            return
        except (CameraRecovering, ShardUnavailable, OwnershipUnproven, AnswerFailed):
            if has_begun or not await self._has_moved(record, index):
                raise
        # The camera moved before any event reached the client, so the question goes to its new shard.
        async with aclosing(self._ask_shard(record, ask_shard)) as events:
            async for event in events:
                yield event

    async def _ask_shard(
        self, record: CameraRecord, ask: Callable[[Shard], AsyncGenerator[AnswerEvent, None]]
    ) -> AsyncGenerator[AnswerEvent, None]:
        """One answer of the shard that the camera is on now. Started is held back until the first token."""
        camera, shard_record = record.spec.name, self._state.shard_of(record)
        if not shard_record.is_up:
            raise ShardUnavailable(f"camera {camera!r}: {record.unavailable_reason}")
        started: Started | None = None
        try:
            async with (
                aclosing(ask(shard_record.shard)) as events,
                aclosing(_until_lapse(events, shard_record)) as shard_events,
            ):
                async for event in shard_events:
                    if isinstance(event, Started):
                        self._state.observe_epoch(record, event.epoch, asyncio.get_running_loop().time())
                        started = event
                        continue
                    if started is not None:
                        yield started
                        started = None
                    yield event
        except UnknownCamera:
            await self._presence.require(record)
            if record.is_refused:
                raise NoFrames(f"camera {camera!r} cannot be watched: {record.status.detail}") from None
            raise CameraRecovering(f"camera {camera!r}: {record.unavailable_reason}") from None

    async def _has_moved(self, record: CameraRecord, index: int) -> bool:
        """Whether the camera has got a shard anew, `index` or another one, within the next 1.5 s.

        Of a move by another server the store knows at once; this one would observe it only once a second.
        """
        is_placed = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOVE_WAIT_S):
                while record.lock.locked() or not (is_placed or record.shard_index != index):
                    if record.lock.locked():
                        is_placed = True  # once the action on it has ended
                    else:
                        await self._observer.observe_owner(record)
                    await asyncio.sleep(_POLL_EVERY_S)
        await record.wait_until_settled()
        return is_placed or record.shard_index != index


async def _until_lapse(
    events: AsyncGenerator[AnswerEvent, None], shard: ShardRecord
) -> AsyncGenerator[AnswerEvent, None]:
    """The events of a shard. Raises ShardUnavailable once it is down and its lease has expired.

    The call itself hears much later that a process has ended, and never that one hangs. What becomes of the process
    after the last event is of no interest: it may end then, because its cameras have moved.
    """
    lapse = asyncio.create_task(shard.lapsed.wait())
    step: asyncio.Future[AnswerEvent | None] | None = None
    try:
        while True:
            step = asyncio.ensure_future(anext(events, None))
            await asyncio.wait((step, lapse), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                raise ShardUnavailable(f"the answer broke off: {shard.detail}")
            event = step.result()
            if event is None:
                return
            yield event
            if isinstance(event, Done):
                return
    finally:
        await task_cancellation.end(*(task for task in (step, lapse) if task is not None))
