"""What the fleet asks of a shard: one Protocol, the values it exchanges, and the timeout of each operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from actors.shard.shard_counts import ShardCounts
from cache_store.leases import UNOWNED, LeaseExpiry
from pipeline.answers import ANYBODY, AnswerEvent, Caller
from pipeline.cameras import CameraSpec, CameraStatus
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.probe import ProbeResult
from pipeline.workers import isolated_probe

P = ParamSpec("P")
T = TypeVar("T")

# In seconds; that of a test depends on how long a source may take to open.
Timeout = float | Callable[[IngestConfig], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A camera that a shard must watch.

    id: the camera's identity, to which its lease, memory and checkpoints belong; never used again. started_s: second 0
    of a file, in Unix seconds; it stays the same when the camera moves. revision: grows with each change of the spec.
    min_epoch: the owner's new epoch must be above it. expiry: the proof that the previous owner's lease expired, None
    without one. is_standby: another shard still owns the camera, so this shard only opens the stream and keeps the
    newest clips. clock_ahead_s: by how much this shard's clock is ahead of that of the owner before, at least, None
    while unknown.
    """

    id: str
    spec: CameraSpec
    started_s: float
    revision: int = 0
    min_epoch: int = 0
    expiry: LeaseExpiry | None = None
    is_standby: bool = False
    clock_ahead_s: float | None = None

    @property
    def was_owned(self) -> bool:
        """Whether another owner is known to have watched the camera before."""
        return self.expiry is not None and self.expiry.incarnation != UNOWNED


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """A shard's process, its incarnation, and the state of its cameras.

    A camera that it keeps but does not own now is RECOVERING: adding it again makes the shard its owner. node: name of
    its machine or pod. standby: ids of cameras of other shards whose clips it keeps, each with the time of the first
    kept frame in Unix seconds, None before that frame. slots: how many cameras fit. busy_share: the share of
    recent time in which the device worked, 0 to 1. ingest_share: the share of the device's time that the frames of its
    cameras take at their rates, 0 while unknown. max_ingest_share: the most that new cameras may bring it to.
    is_leaving: its process was told to end. counts: what it has done so far. generation: of its code and settings, see
    `actors.generation`. resident_nbytes, device_nbytes: see ProcessCost. fingerprints: of the memories that its model
    reads, that of those it writes first; none: a version before said nothing of them.
    clock_s: its Unix time when it made this status; 0: a version before said nothing of it.
    """

    pid: int
    incarnation: str
    cameras: tuple[CameraStatus, ...]
    standby: Mapping[str, float | None] = field(default_factory=dict)
    node: str = ""
    slots: int = 0
    busy_share: float = 0.0
    ingest_share: float = 0.0
    max_ingest_share: float = 0.0
    is_draining: bool = False
    is_leaving: bool = False
    counts: ShardCounts = field(default_factory=ShardCounts)
    generation: str = ""
    resident_nbytes: int = 0
    device_nbytes: int = 0
    fingerprints: tuple[str, ...] = ()
    clock_s: float = 0.0


class Shard(Protocol):
    """The cameras of one device: a CameraShard, or a ForwardedShard that stands for one in another process.

    More operations than a seam has elsewhere: each of them needs the process of the device. Cameras go by their ids.
    """

    def ask(
        self,
        camera_id: str,
        question: str,
        *,
        max_answer_tokens: int | None = None,
        caller: Caller = ANYBODY,
        trace: str = "",
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Streams the events of one answer, Done last. Closing the stream cancels the answer.

        caller: who asks, and how long the answer may take. trace: the caller's span as W3C `traceparent`, empty without
        one. Raises QuestionError, OwnershipUnproven.
        """
        ...

    async def add_camera(self, assignment: Assignment) -> None:
        """Acquires the camera's lease, restores its memory from its checkpoint if there is one, and opens its stream.

        A camera that this shard already watches keeps running, with the assignment's spec; its epoch is raised above
        the assignment's min_epoch.

        Raises TooManyCameras, DeviceFull among them, InvalidCamera, StoreUnavailable, InvalidShard while the shard is
        draining, and OwnedByAnother while another shard's lease may still be valid.
        """
        ...

    async def update_camera(self, assignment: Assignment) -> None:
        """Gives a camera of this shard another spec and keeps its memory.

        The stream is opened anew only if the new spec reads or shows it differently. Raises UnknownCamera,
        InvalidCamera.
        """
        ...

    async def release_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        """Saves the camera's whole memory, stops the camera and releases it, for another shard.

        Answers that were begun go on to their ends, on their copies of the memory. successor: the only incarnation that
        may own the camera next. Raises UnknownCamera, StoreUnavailable; after StoreUnavailable the camera is still
        watched.
        """
        ...

    async def drop_camera(self, camera_id: str) -> None:
        """Stops the camera, saves nothing, and releases it. Its checkpoints stay. No effect without such a camera."""
        ...

    async def erase_memory(self, camera_id: str) -> None:
        """Empties the camera's memory and deletes its checkpoints; the camera is watched as before.

        Raises UnknownCamera, OwnershipUnproven, OwnedByAnother, StoreUnavailable.
        """
        ...

    async def test_camera(self, url: str, tls: TlsRules = USUAL_RULES) -> ProbeResult:
        """Opens a URL for some seconds without watching it. Raises InvalidCamera and TooManyTests."""
        ...

    async def status(self) -> ShardStatus:
        """The state of the shard and its cameras."""
        ...

    async def drain(self) -> None:
        """Refuses new cameras from now on, until `undrain` or a restart of the process."""
        ...

    async def undrain(self) -> None:
        """Takes new cameras again."""
        ...


OPERATIONS = frozenset(name for name in vars(Shard) if not name.startswith("_"))


def _forwarded(
    operation: Callable[Concatenate[Shard, P], Coroutine[Any, Any, T]], timeout_s: Timeout
) -> Callable[Concatenate[ForwardedShard, P], Coroutine[Any, Any, T]]:
    async def forward(self: ForwardedShard, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await self._call(operation.__name__, timeout_s, *args, **kwargs)
        return result

    return forward


def _streamed(
    operation: Callable[Concatenate[Shard, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[ForwardedShard, P], AsyncGenerator[T, None]]:
    def forward(self: ForwardedShard, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        return self._stream(operation.__name__, *args, **kwargs)

    return forward


class ForwardedShard(ABC):
    """A Shard whose operations run in another process; a subclass knows how to reach it.

    One line per operation: the signature is that of Shard, so mypy checks the callers; the timeout stands beside it. A
    stream has no timeout: the shard bounds the wait for each event of an answer.
    """

    @abstractmethod
    async def _call(self, operation: str, timeout_s: Timeout, /, *args: object, **kwargs: object) -> Any: ...

    @abstractmethod
    def _stream(self, operation: str, /, *args: object, **kwargs: object) -> AsyncGenerator[Any, None]: ...

    ask = _streamed(Shard.ask)
    add_camera = _forwarded(Shard.add_camera, 30.0)
    update_camera = _forwarded(Shard.update_camera, 30.0)
    release_camera = _forwarded(Shard.release_camera, 30.0)
    drop_camera = _forwarded(Shard.drop_camera, 30.0)
    erase_memory = _forwarded(Shard.erase_memory, 30.0)
    test_camera = _forwarded(Shard.test_camera, lambda ingest: isolated_probe.max_duration_s(ingest) + 5.0)
    status = _forwarded(Shard.status, 5.0)
    drain = _forwarded(Shard.drain, 5.0)
    undrain = _forwarded(Shard.undrain, 5.0)
