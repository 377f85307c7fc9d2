"""A Shard in memory that answers from a script, and can be away or come back empty like one that was killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager

from actors import fleet, registry, shard, succession, supervision
from actors.errors import InvalidShard, ShardUnavailable
from cache_store import leases
from pipeline import answers, cameras, urls

STARTED = answers.Started(answer_id="1", camera="gate", memory_as_of_s=1_000.25)
DONE = answers.Done(
    finish_reason=answers.FinishReason.END,
    answer="red car",
    question_tokens=5,
    answer_tokens=2,
    time_to_first_token_ms=12.5,
)
ANSWER: tuple[answers.AnswerEvent, ...] = (
    STARTED,
    answers.Token("red", 0),
    answers.Token(" car", 1),
    answers.Evidence(time_s=999.5, weight=0.75, thumbnail_jpeg=b"jpeg"),
    DONE,
)


def a_fleet(
    *shards: ScriptedShard,
    granted_by: leases.Leases | None = None,
    known: registry.CameraRegistry | None = None,
    length_s: float = 0.0,
    supervises: supervision.Supervises = lambda: True,
    spares: int = 0,
) -> fleet.Fleet:
    """A fleet of these shards; an owner that stands in the way is gone when its lease stood still for `length_s`."""
    owners = succession.Succession(granted_by or leases.InMemoryLeases(), length_s)
    return fleet.Fleet(
        shards,
        owners,
        known or registry.InMemoryRegistry(),
        supervises=supervises,
        spares=spares,
        open_timeout_s=0.3,
        clock=lambda: 500.0,
    )


class ScriptedShard:
    """Every camera is live at once, but for those whose state is scripted."""

    def __init__(
        self, *, answer: Iterable[answers.AnswerEvent | Exception] = ANSWER, max_cameras: int = 16, pid: int = 1
    ) -> None:
        self.assignments: dict[str, shard.Assignment] = {}
        self.forgotten: list[str] = []
        self.states: dict[str, tuple[cameras.CameraState, str]] = {}
        self.is_away = False
        self.refusal: Exception | None = None
        self.is_draining = False
        self.ahead: set[str] = set()
        self.unfinished = 0
        self.pause_s = 0.0
        self.epoch = 0
        self.busy_s = 0.0
        self.busy_share = 0.0
        self.answer = list(answer)
        self._max_cameras = max_cameras
        self._pid = pid

    def restart(self) -> None:
        """As after a kill: the process is another, and its cameras are gone."""
        self.assignments.clear()
        self.is_draining = False
        self._pid += 1

    async def ask(
        self, camera: str, question: str, *, max_answer_tokens: int | None = None
    ) -> AsyncGenerator[answers.AnswerEvent, None]:
        self._require_here()
        if camera not in self.assignments:
            raise answers.UnknownCamera(f"camera {camera!r}: not on this device")
        with self._counting_unfinished():
            for event in self.answer:
                await asyncio.sleep(self.pause_s)
                if isinstance(event, Exception):
                    raise event
                yield event

    async def add_camera(self, assignment: shard.Assignment) -> None:
        self._require_here()
        await asyncio.sleep(self.busy_s)
        if self.refusal is not None:
            raise self.refusal
        if self.is_draining:
            raise InvalidShard("it is being drained")
        if len(self.assignments) >= self._max_cameras:
            raise cameras.TooManyCameras(f"camera {assignment.spec.name!r}: all {self._max_cameras} slots are taken")
        if assignment.is_ahead:
            self.ahead.add(assignment.spec.name)
            return
        self.ahead.discard(assignment.spec.name)
        self.assignments[assignment.spec.name] = assignment

    async def remove_camera(self, name: str, *, is_forgotten: bool, heir: str | None = None) -> None:
        self._require_here()
        if self.assignments.pop(name, None) is None:
            raise answers.UnknownCamera(f"camera {name!r} is not here")
        if is_forgotten:
            self.forgotten.append(name)

    async def status(self) -> shard.ShardStatus:
        self._require_here()
        return shard.ShardStatus(
            pid=self._pid,
            incarnation=str(self._pid),
            cameras=tuple(map(self._status, self.assignments)),
            ahead=dict.fromkeys(self.ahead, 1_000.0),
            slots=self._max_cameras,
            busy_share=self.busy_share,
            is_draining=self.is_draining,
        )

    async def drain(self) -> None:
        self._require_here()
        self.is_draining = True

    def _status(self, name: str) -> cameras.CameraStatus:
        state, detail = self.states.get(name, (cameras.CameraState.LIVE, ""))
        url = urls.redacted(self.assignments[name].spec.url)
        memory = cameras.MemoryStatus(frames_seen=8, nbytes=4_096, oldest_s=990.0, newest_s=1_000.25)
        return cameras.CameraStatus(name=name, url=url, state=state, detail=detail, memory=memory, epoch=self.epoch)

    def _require_here(self) -> None:
        if self.is_away:
            raise ShardUnavailable("shard: its process is gone and is being restarted")

    @contextmanager
    def _counting_unfinished(self) -> Iterator[None]:
        self.unfinished += 1
        try:
            yield
        finally:
            self.unfinished -= 1
