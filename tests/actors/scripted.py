"""A Shard in memory that answers from a script, and can be away or come back empty like one that was killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager

from actors.errors import InvalidShard, ShardUnavailable
from actors.fleet.fleet import Fleet
from actors.fleet.registry import CameraRegistry, InMemoryRegistry
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import IsLeader
from actors.shard.interface import Assignment, ShardStatus
from cache_store.leases import InMemoryLeases, Leases
from pipeline.answers import AnswerEvent, Done, Evidence, FinishReason, Started, Token, UnknownCamera
from pipeline.cameras import CameraState, CameraStatus, MemoryStatus, SourceReason, TooManyCameras
from pipeline.network import urls
from pipeline.sources.probe import ProbeResult

STARTED = Started(answer_id="1", camera="gate", memory_as_of_s=1_000.25)
DONE = Done(
    finish_reason=FinishReason.END,
    answer="red car",
    question_tokens=5,
    answer_tokens=2,
    time_to_first_token_ms=12.5,
)
ANSWER: tuple[AnswerEvent, ...] = (
    STARTED,
    Token("red", 0),
    Token(" car", 1),
    Evidence(time_s=999.5, weight=0.75, thumbnail_jpeg=b"jpeg"),
    DONE,
)


def scripted_fleet(
    *shards: ScriptedShard,
    leases: Leases | None = None,
    known: CameraRegistry | None = None,
    length_s: float = 0.0,
    is_leader: IsLeader = lambda: True,
    spares: int = 0,
) -> Fleet:
    """A fleet of these shards; an owner that stands in the way is gone when its lease stood still for `length_s`."""
    owners = FailureDetector(leases or InMemoryLeases(), length_s)
    return Fleet(
        shards,
        owners,
        known or InMemoryRegistry(),
        is_leader=is_leader,
        spares=spares,
        open_timeout_s=0.3,
        clock=lambda: 500.0,
    )


class ScriptedShard:
    """Every camera is live at once, but for those whose state is scripted."""

    def __init__(
        self, *, answer: Iterable[AnswerEvent | Exception] = ANSWER, max_cameras: int = 16, pid: int = 1
    ) -> None:
        self.assignments: dict[str, Assignment] = {}
        self.forgotten: list[str] = []
        self.states: dict[str, tuple[CameraState, str]] = {}
        self.inspections: dict[str, ProbeResult] = {}
        self.reason: SourceReason | None = None
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
    ) -> AsyncGenerator[AnswerEvent, None]:
        self._require_here()
        if camera not in self.assignments:
            raise UnknownCamera(f"camera {camera!r}: not on this device")
        with self._counting_unfinished():
            for event in self.answer:
                await asyncio.sleep(self.pause_s)
                if isinstance(event, Exception):
                    raise event
                yield event

    async def add_camera(self, assignment: Assignment) -> None:
        self._require_here()
        await asyncio.sleep(self.busy_s)
        if self.refusal is not None:
            raise self.refusal
        if self.is_draining:
            raise InvalidShard("it is being drained")
        if len(self.assignments) >= self._max_cameras:
            raise TooManyCameras(f"camera {assignment.spec.name!r}: all {self._max_cameras} slots are taken")
        if assignment.is_standby:
            self.ahead.add(assignment.spec.name)
            return
        self.ahead.discard(assignment.spec.name)
        self.assignments[assignment.spec.name] = assignment

    async def remove_camera(self, name: str, *, is_forgotten: bool, successor: str | None = None) -> None:
        self._require_here()
        if self.assignments.pop(name, None) is None:
            raise UnknownCamera(f"camera {name!r} is not here")
        if is_forgotten:
            self.forgotten.append(name)

    async def test_camera(self, url: str) -> ProbeResult:
        self._require_here()
        urls.parse(url)
        return self.inspections.get(url, ProbeResult(url=urls.redact(url)))

    async def status(self) -> ShardStatus:
        self._require_here()
        return ShardStatus(
            pid=self._pid,
            node="somewhere",
            incarnation=str(self._pid),
            cameras=tuple(map(self._status, self.assignments)),
            standby=dict.fromkeys(self.ahead, 1_000.0),
            slots=self._max_cameras,
            busy_share=self.busy_share,
            is_draining=self.is_draining,
        )

    async def drain(self) -> None:
        self._require_here()
        self.is_draining = True

    def _status(self, name: str) -> CameraStatus:
        state, detail = self.states.get(name, (CameraState.LIVE, ""))
        spec = self.assignments[name].spec
        memory = MemoryStatus(frames_seen=8, nbytes=4_096, oldest_s=990.0, newest_s=1_000.25)
        return CameraStatus(
            name=name,
            url=urls.redact(spec.url),
            state=state,
            detail=detail,
            memory=memory,
            epoch=self.epoch,
            masks=spec.masks,
            reason=self.reason,
        )

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
