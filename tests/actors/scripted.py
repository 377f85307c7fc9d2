"""A Shard in memory that answers from a script, and can be down or restart without its cameras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from actors.errors import InvalidShard, ShardUnavailable
from actors.fleet.fleet import Fleet
from actors.fleet.registry import CameraRegistry, InMemoryRegistry
from actors.fleet.removal import MemoryEraser
from actors.fleet.scaler import FleetSize
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.views import CameraView
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import IsLeader
from actors.shard.interface import Assignment, ShardStatus
from actors.shard.shard_counts import ShardCounts
from cache_store.errors import CameraFenced, StoreUnavailable
from cache_store.leases import FENCED, InMemoryLeases, Leases, Owner
from pipeline.answers import ANYBODY, AnswerEvent, Caller, Done, Evidence, FinishReason, Started, Token, UnknownCamera
from pipeline.cameras import CameraSpec, CameraState, CameraStatus, SourceReason, TooManyCameras
from pipeline.memory_status import MemoryStatus
from pipeline.network import urls
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.network.url_redaction import redact
from pipeline.picture_note import PictureNote
from pipeline.sources.probe import ProbeResult
from tests import virtual_time

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
    registry: CameraRegistry | None = None,
    lease_length_s: float = 0.0,
    is_leader: IsLeader = lambda: True,
    size: FleetSize | None = None,
    spares: int = 0,
    eraser: MemoryEraser | None = None,
    clock: Callable[[], float] = lambda: 500.0,
) -> Fleet:
    """A fleet of these shards, or of `size`. A lease expires `lease_length_s` after the last observed renewal."""
    return Fleet(
        size or FleetSize.fixed(shards, spares=spares),
        FailureDetector(leases or InMemoryLeases(), lease_length_s, clock=virtual_time.now_s),
        registry or InMemoryRegistry(),
        eraser or RecordingEraser().seam,
        is_leader=is_leader,
        open_timeout_s=0.3,
        clock=clock,
    )


class ScriptedPool:
    """A ShardPool of scripted shards. on_start: called with each one that is started."""

    def __init__(self, shards: Sequence[ScriptedShard], *, on_start: Callable[[ScriptedShard], None] = lambda _: None):
        self.shards = shards
        self.running: set[int] = set()
        self.ended: list[int] = []
        self.generation = ""  # of a shard that replaces another
        self._on_start = on_start

    def of(self, numbers: ShardNumbers) -> Sequence[ScriptedShard]:
        for index in sorted(set(range(numbers.target)) - self.running):
            self.running.add(index)
            self._on_start(self.shards[index])
        return self.shards[: numbers.started]

    async def num_present(self) -> int:
        return max(self.running, default=-1) + 1

    async def end(self, index: int) -> None:
        self.running.discard(index)
        self.ended.append(index)
        self.shards[index].restart()

    async def replace(self, index: int) -> None:
        await self.end(index)
        self.shards[index].generation = self.generation


class RecordingEraser:
    """Erases nothing and records for which cameras it was asked to. error: raised instead."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fence = Owner(8, FENCED)
        self.error: StoreUnavailable | None = None
        self.on_call: Callable[[str], None] = lambda _: None
        self.seam = MemoryEraser(fence=self._fence, delete=self._delete)

    async def _fence(self, camera_id: str) -> Owner:
        self._record("fence", camera_id)
        return self.fence

    async def _delete(self, camera_id: str, owner: Owner) -> None:
        assert owner == self.fence
        self._record("delete", camera_id)

    def _record(self, operation: str, camera_id: str) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append((operation, camera_id))
        self.on_call(operation)


class ScriptedShard:
    """Every camera is live at once, except those with a scripted state. What tests look at goes by cameras' names.

    add_delay_s, pause_s: how long adding a camera and each event of an answer take. late_add_s: after this time a
    camera is added, although its caller was told after 30 s that the shard does not answer. standby_since_s: None: a
    standby never gets a frame, as of a camera that accepts one connection.
    """

    def __init__(
        self, *, answer: Iterable[AnswerEvent | Exception] = ANSWER, max_cameras: int = 16, pid: int = 1
    ) -> None:
        self.assignments: dict[str, Assignment] = {}
        self.forgotten: list[str] = []
        self.saved: list[str] = []
        self.updated: list[str] = []
        self.on_drop: Callable[[], None] = lambda: None
        self.late_add_s = 0.0
        self.token_limits: list[int | None] = []  # max_answer_tokens of each question
        self.states: dict[str, tuple[CameraState, str]] = {}
        self.probe_results: dict[str, ProbeResult] = {}
        self.reason: SourceReason | None = None
        self.notes: dict[str, PictureNote] = {}
        self.is_down = False
        self.status_error: Exception | None = None
        self.add_error: Exception | None = None
        self.release_error: Exception | None = None
        self.fenced: set[str] = set()  # ids
        self.is_draining = self.is_leaving = False
        self.generation = ""
        self.fingerprints: tuple[str, ...] = ()
        self.standby: set[str] = set()
        self.standby_since_s: float | None = 1_000.0
        self.unfinished = 0
        self.pause_s = 0.0
        self.epoch = 0
        self.add_delay_s = 0.0
        self.busy_share = 0.0
        self.ingest_share = self.max_ingest_share = 0.0
        self.resident_nbytes = self.device_nbytes = 0
        self.clock_s = 0.0
        self.counts = ShardCounts()
        self.traces: list[str] = []
        self.callers: list[Caller] = []
        self.answer = list(answer)
        self._max_cameras = max_cameras
        self._pid = pid

    def restart(self) -> None:
        """Becomes a new process without cameras, as after a kill."""
        self.assignments.clear()
        self.is_draining = False
        self._pid += 1

    async def ask(
        self,
        camera_id: str,
        question: str,
        *,
        max_answer_tokens: int | None = None,
        caller: Caller = ANYBODY,
        trace: str = "",
    ) -> AsyncGenerator[AnswerEvent, None]:
        self._require_up()
        self._named(camera_id)
        self.token_limits.append(max_answer_tokens)
        self.callers.append(caller)
        self.traces.append(trace)
        with self._unfinished_answer():
            for event in self.answer:
                await asyncio.sleep(self.pause_s)
                if isinstance(event, Exception):
                    raise event
                yield event

    async def add_camera(self, assignment: Assignment) -> None:
        self._require_up()
        if self.late_add_s:
            self._late = asyncio.get_running_loop().call_later(self.late_add_s, self._add_late, assignment)
            await asyncio.sleep(30.0)
            raise ShardUnavailable("shard: its process did not answer in time")
        await asyncio.sleep(self.add_delay_s)
        if self.add_error is not None:
            raise self.add_error
        if assignment.id in self.fenced:
            raise CameraFenced(f"camera {assignment.id!r}: it was removed")
        if self.is_draining:
            raise InvalidShard("it is being drained")
        taken = {present.id for present in self.assignments.values()} | self.standby - {assignment.id}
        if len(taken) >= self._max_cameras:
            raise TooManyCameras(f"camera {assignment.spec.name!r}: all {self._max_cameras} slots are taken")
        if assignment.is_standby:
            self.standby.add(assignment.id)
            return
        self.standby.discard(assignment.id)
        self.assignments[assignment.spec.name] = assignment

    def _add_late(self, assignment: Assignment) -> None:
        self.assignments[assignment.spec.name] = assignment

    async def update_camera(self, assignment: Assignment) -> None:
        self._require_up()
        self.updated.append(assignment.spec.name)
        self.assignments[self._named(assignment.id)] = assignment

    async def release_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        self._require_up()
        self.standby.discard(camera_id)
        if self.release_error is not None:
            raise self.release_error
        self.saved.append(self._named(camera_id))
        del self.assignments[self._named(camera_id)]

    async def drop_camera(self, camera_id: str) -> None:
        self._require_up()
        self.on_drop()
        self.standby.discard(camera_id)
        with suppress(UnknownCamera):
            del self.assignments[self._named(camera_id)]

    async def erase_memory(self, camera_id: str) -> None:
        self._require_up()
        self.forgotten.append(self._named(camera_id))

    async def test_camera(self, url: str, tls: TlsRules = USUAL_RULES) -> ProbeResult:
        self._require_up()
        urls.parse(url)
        return self.probe_results.get(url, ProbeResult(url=redact(url)))

    async def status(self) -> ShardStatus:
        self._require_up()
        if self.status_error is not None:
            raise self.status_error
        return ShardStatus(
            pid=self._pid,
            node="somewhere",
            incarnation=str(self._pid),
            cameras=tuple(map(self._status, self.assignments)),
            standby=dict.fromkeys(self.standby, self.standby_since_s),
            slots=self._max_cameras,
            busy_share=self.busy_share,
            ingest_share=self.ingest_share,
            max_ingest_share=self.max_ingest_share,
            counts=self.counts,
            is_draining=self.is_draining,
            is_leaving=self.is_leaving,
            generation=self.generation,
            resident_nbytes=self.resident_nbytes,
            device_nbytes=self.device_nbytes,
            fingerprints=self.fingerprints,
            clock_s=self.clock_s,
        )

    async def drain(self) -> None:
        self._require_up()
        self.is_draining = True

    async def undrain(self) -> None:
        self._require_up()
        self.is_draining = False

    def _named(self, camera_id: str) -> str:
        names = [name for name, assignment in self.assignments.items() if assignment.id == camera_id]
        if not names:
            raise UnknownCamera(f"camera {camera_id!r} is not on this shard")
        return names[0]

    def _status(self, name: str) -> CameraStatus:
        state, detail = self.states.get(name, (CameraState.LIVE, ""))
        spec = self.assignments[name].spec
        memory = MemoryStatus(frames_seen=8, nbytes=4_096, oldest_s=990.0, newest_s=1_000.25)
        return CameraStatus(
            id=self.assignments[name].id,
            name=name,
            url=redact(spec.url),
            state=state,
            detail=detail,
            memory=memory,
            epoch=self.epoch,
            masks=spec.masks,
            revision=self.assignments[name].revision,
            source=urls.source_digest(spec.url),
            started_s=self.assignments[name].started_s,
            reason=self.reason,
            note=self.notes.get(name),
        )

    def _require_up(self) -> None:
        if self.is_down:
            raise ShardUnavailable("shard: its process ended and is being restarted")

    @contextmanager
    def _unfinished_answer(self) -> Iterator[None]:
        self.unfinished += 1
        try:
            yield
        finally:
            self.unfinished -= 1


def camera_spec(name: str, url: str = "sim:street") -> CameraSpec:
    return CameraSpec(name=name, url=url)


async def ask(fleet: Fleet, camera: str) -> list[AnswerEvent]:
    """All events of one answer."""
    return [event async for event in fleet.ask(camera, "what is in view")]


async def update(fleet: Fleet, spec: CameraSpec, *, allow_memory_loss: bool = False) -> CameraView:
    """Gives the camera of this name this spec."""
    return await fleet.update_camera(spec.name, lambda _: spec, allow_memory_loss=allow_memory_loss)
