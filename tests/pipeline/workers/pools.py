"""Pools of real workers for tests, and what their cameras give."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec, CameraState, PlaybackSpeed, Polygon, SourceReason
from pipeline.picture_note import PictureNote
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.feed import CameraFeed
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.pool import WorkerPool
from pipeline.workers.segment_decoding import SegmentDecoding
from pipeline.workers.worker_cameras import WorkerLimits
from tests.pipeline.playing import QUICK
from tests.pipeline.workers.file_decoders import H100, LibavFiles

FIT = FrameFit(cell=64, max_cells=1, side=64)
_CLOSING_S = 20.0


class Cameras:
    """Cameras of one shard, as it sees them. All waits are for events."""

    def __init__(self, open_feed: Callable[..., object], max_clips: int = 4, *, takes: bool = True) -> None:
        self._open_feed, self._takes = open_feed, takes
        self._changed = threading.Condition()
        self.clips = ClipQueue(max_clips, on_put=self._notify)
        self.taken: defaultdict[str, list[Clip]] = defaultdict(list)
        self.notes: defaultdict[str, list[PictureNote | None]] = defaultdict(list)
        self.states: defaultdict[str, list[tuple[CameraState, str, SourceReason | None]]] = defaultdict(list)

    def open(
        self,
        name: str,
        url: str,
        *,
        pace: PlaybackSpeed = PlaybackSpeed.LIVE,
        config: IngestConfig = QUICK,
        masks: tuple[Polygon, ...] = (),
        tls: Mapping[str, str] = MappingProxyType({}),
        **more: float,
    ) -> object:
        def on_state(state: CameraState, detail: str, reason: SourceReason | None, note: PictureNote | None) -> None:
            with self._changed:
                self.states[name].append((state, detail, reason))
                self.notes[name].append(note)
                self._changed.notify_all()

        feed = self._open_feed(
            CameraSpec(name=name, url=url, pace=pace, masks=masks, **tls),
            config,
            clips=self.clips,
            on_state=on_state,
            camera_id=name,
            resume_from_s=more.get("resume_from_s"),
            started_s=more.get("started_s", time.time()),
        )
        feed.start()  # type: ignore[attr-defined]
        return feed

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = 60) -> None:
        """Blocks until the condition holds; checked at each state and each clip. Takes the clips, if any."""

        def is_so() -> bool:
            while self._takes and (clip := self.clips.take()) is not None:
                self.taken[clip.camera].append(clip)
            return is_true()

        with self._changed:
            assert self._changed.wait_for(is_so, timeout_s), dict(self.states)

    def wait_for_state(self, name: str, state: CameraState) -> str:
        """Blocks until the state was reported; returns its last detail."""
        self.wait_until(lambda: any(found is state for found, _, _ in self.states[name]))
        return next(detail for found, detail, _ in reversed(self.states[name]) if found is state)

    def wait_for_next_clips(self, *names: str) -> None:
        """Blocks until each of the cameras has given a clip that was not given before."""
        before = {name: len(self.taken[name]) for name in names}
        self.wait_until(lambda: all(len(self.taken[name]) > before[name] for name in names))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


@contextmanager
def threads() -> Iterator[Callable[..., object]]:
    """Feeds in threads of this process."""
    yield partial(CameraFeed, fit=FIT)


@contextmanager
def workers(
    num_workers: int = 1,
    folders: tuple[Path, ...] = QUICK.video_folders,
    limits: WorkerLimits | None = None,
    decoding: SegmentDecoding | None = None,
) -> Iterator[WorkerPool]:
    """A pool that is closed afterwards."""
    pool = WorkerPool(FIT, num_workers, folders, limits, decoding=decoding)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def worker_feeds() -> Iterator[Callable[..., object]]:
    """Feeds in workers."""
    with workers() as pool:
        yield pool.open


@contextmanager
def shard_feeds(files: LibavFiles | None = None) -> Iterator[Callable[..., object]]:
    """Feeds in workers whose segments are decoded in this process, as by a GPU."""
    with workers(decoding=SegmentDecoding(H100, files or LibavFiles())) as pool:
        yield pool.open


def descriptors() -> Counter[str]:
    """What this process has open, by what each descriptor leads to: a socket and a pipe have numbers of their own."""
    found: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # one that another thread closes meanwhile
            found[os.readlink(f"/proc/self/fd/{descriptor}")] += 1
    return found


def children() -> set[int]:
    """The processes that this one has started and that are not gone, those that wait to be reaped included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
            found.update(map(int, (task / "children").read_text().split()))
    return found


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Asserts that the block leaves no process and nothing open. What was there before may end meanwhile.

    A server of the test closes its end of a connection only once it has noticed that the other one is gone.
    """
    opened, started = descriptors(), children()
    yield
    assert children() <= started
    deadline_s = time.monotonic() + _CLOSING_S
    while (left := descriptors() - opened) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not left


def take_memory(pid: int) -> None:
    """Leaves a process no more memory, as one of its cameras might: its limit falls below what it has."""
    resource.prlimit(pid, resource.RLIMIT_DATA, (1 << 20, 1 << 20))
