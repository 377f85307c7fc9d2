"""What a shard does about workers that end, hang, lie or do not start. In virtual time, without a process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec, CameraState, SourceReason
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import StreamFormat
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from pipeline.utc_text import utc_text
from pipeline.workers import clip_messages
from pipeline.workers.errors import WorkerUnreachable
from pipeline.workers.liveness import PING_EVERY_S, Activity
from pipeline.workers.messages import (
    Alive,
    CameraClosed,
    CloseCamera,
    LimitRate,
    OpenCamera,
    Order,
    Ping,
    Report,
    StateChanged,
    Taken,
)
from pipeline.workers.quarantine import FIRST_PAUSE_S
from pipeline.workers.segment_decoding import CameraDecoder, SegmentDecoding
from pipeline.workers.segment_messages import CompressedSegment, SegmentDecoded
from pipeline.workers.supervisor import FIRST_START_RETRY_S, LAST_START_RETRY_S, Supervisor
from pipeline.workers.worker_cameras import MAX_REPORTS_AT_ONCE, MAX_REPORTS_PER_S, WorkerLimits
from pipeline.workers.worker_feed import WatchedCamera, WorkerFeed
from tests.pipeline.workers.file_decoders import H100, BrokenFiles

SIDE = 8
RESOLV_CONF = Path("/etc/resolv.conf")
LIMITS = WorkerLimits(hang_s=5.0, start_s=60.0, soon_s=300.0)


class ScriptedWorker:
    """A worker that says what the test has it say."""

    pid = 0
    has_unsent = False
    crashed_camera: int | None = None

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.doing = Activity(0.0, wants_cpu=False)
        self.says: list[tuple[Report, bytearray]] = [(Alive(), bytearray())]
        self.has_died = self.has_ended = self.cannot_be_freed = False

    @property
    def cameras(self) -> list[int]:
        return [order.camera for order in self.orders if isinstance(order, OpenCamera)]

    def fileno(self) -> int:
        return 0

    def send(self, order: Order, *body: memoryview) -> None:
        if self.has_died:
            raise WorkerUnreachable("Broken pipe")
        self.orders.append(order)

    def activity(self) -> Activity:
        return self.doing

    def receive(self) -> Iterator[tuple[Report, bytearray]]:
        while self.says:
            yield self.says.pop(0)
        if self.has_died:
            raise WorkerUnreachable("it closed its channel")

    def end(self) -> str:
        assert not self.has_ended
        self.has_ended = True
        if self.cannot_be_freed:
            raise OSError(5, "Input/output error")
        return "signal SIGSEGV" if self.has_died else ""


class Shard:
    """A supervisor, its workers and its cameras, with a clock that the test advances."""

    def __init__(self, num_workers: int = 2) -> None:
        self.now_s = 1_000.0
        self.workers: list[ScriptedWorker] = []
        self.can_start = True
        self._handles = itertools.count()
        self.clips = ClipQueue(4)
        self.states: dict[str, tuple[CameraState, str, SourceReason | None]] = {}
        self.files: frozenset[tuple[Path, int, int]] = frozenset({(RESOLV_CONF, 0, 1)})
        self.supervisor = Supervisor(
            self._start, num_workers, lambda: self.now_s, LIMITS, lambda: self.files, wall=lambda: self.now_s + 200.0
        )

    def _start(self) -> ScriptedWorker:
        if not self.can_start:
            raise OSError(11, "Resource temporarily unavailable")
        self.workers.append(ScriptedWorker())
        return self.workers[-1]

    def open(self, name: str, decoding: SegmentDecoding | None = None) -> WorkerFeed:
        def on_state(state: CameraState, detail: str, reason: SourceReason | None, _note: object) -> None:
            self.states[name] = (state, detail, reason)

        camera = WatchedCamera(
            spec=CameraSpec(name=name, url="sim:street"),
            config=IngestConfig(),
            fit=FrameFit(cell=SIDE, max_cells=1, side=SIDE),
            camera_id=name,
            resume_from_s=None,
            started_s=0.0,
        )
        handle = next(self._handles)
        decoder = CameraDecoder(handle, camera, decoding) if decoding else None
        feed = WorkerFeed(handle, camera, self.clips, on_state, self.supervisor, decoder)
        feed.start()
        self.read()
        return feed

    def read(self) -> None:
        for worker in list(self.supervisor.workers):
            self.supervisor.read(worker)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.supervisor.tick()
        self.read()

    def has_trouble(self, feed: WorkerFeed, reason: SourceReason | None) -> None:
        """The camera's worker tells it, and obeys what it is told for that."""
        *_, worker = [worker for worker in self.alive() if feed.handle in worker.cameras]
        state = StateChanged(camera=feed.handle, state=CameraState.BACKING_OFF, detail="", reason=reason)
        worker.says.append((state, bytearray()))
        self.read()
        self.advance(0)
        for worker in self.alive():
            closed = [order.camera for order in worker.orders if isinstance(order, CloseCamera)]
            worker.says += [(CameraClosed(camera=handle), bytearray()) for handle in closed]
        self.advance(0)
        self.advance(0)

    def alive(self) -> list[ScriptedWorker]:
        return [worker for worker in self.workers if not worker.has_ended]

    def worker_of(self, feed: WorkerFeed) -> ScriptedWorker:
        (worker,) = [worker for worker in self.alive() if feed.handle in worker.cameras]
        return worker

    def crash(self, feed: WorkerFeed) -> None:
        self.worker_of(feed).has_died = True
        self.read()
        self.advance(0)


def says_clip(
    worker: ScriptedWorker, feed: WorkerFeed, time_s: float, *, side: int = SIDE, can_wait: bool = False
) -> None:
    picture = np.zeros((1, side, side, 3), np.uint8)
    clip = Clip("", picture, (time_s,), (picture[0],), time_s)
    header = clip_messages.clip_header(feed.handle, clip, can_wait=can_wait)
    worker.says.append((header, bytearray(b"".join(clip_messages.clip_body(clip)))))


def test_cameras_are_spread_evenly() -> None:
    shard = Shard(num_workers=2)
    for number in range(5):
        shard.open(f"c{number}")

    assert sorted(len(worker.cameras) for worker in shard.workers) == [2, 3]


def test_a_worker_without_cameras_is_ended() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    feed.request_stop()
    (worker,) = shard.workers
    assert isinstance(worker.orders[-1], CloseCamera)
    assert not worker.has_ended

    worker.says.append((CameraClosed(camera=feed.handle), bytearray()))
    shard.read()

    assert worker.has_ended
    feed.stop(timeout_s=0)


def test_a_worker_that_ends_is_started_again_and_goes_on_where_it_was() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    says_clip(shard.worker_of(feed), feed, 17.0)
    shard.read()

    shard.crash(feed)

    detail = "its ingest worker ended (signal SIGSEGV) and is started again"
    assert shard.states["c0"] == (CameraState.STALLED, detail, None)
    (order,) = shard.worker_of(feed).orders
    assert isinstance(order, OpenCamera)
    assert order.resume_from_s == 17.0
    assert [worker.has_ended for worker in shard.workers] == [True, False]


def test_the_camera_that_ends_workers_is_found_and_waits_while_the_others_go_on() -> None:
    shard = Shard(num_workers=1)
    guilty, *others = [shard.open(f"c{number}") for number in range(4)]
    shard.crash(guilty)
    shard.crash(guilty)
    assert len(shard.alive()) == 4

    shard.crash(guilty)

    state, detail, reason = shard.states["c0"]
    assert (state, reason) == (CameraState.BACKING_OFF, SourceReason.DECODER_CRASHED)
    assert "try again at 1970-01-01 00:20:05 UTC" in detail
    assert [worker.cameras for worker in shard.alive()] == [[feed.handle] for feed in others]
    assert all(shard.states[feed.camera.spec.name][2] is None for feed in others)
    shard.advance(FIRST_PAUSE_S + 0.1)
    shard.crash(guilty)
    assert shard.states["c0"][1].endswith(f"try again at {utc_text(shard.now_s + 210.0)}")


def test_who_was_suspected_wrongly_comes_back_to_the_others() -> None:
    shard = Shard(num_workers=1)
    feeds = [shard.open(f"c{number}") for number in range(3)]
    shard.crash(feeds[0])
    shard.crash(feeds[0])
    assert len(shard.alive()) == 3

    for _ in range(int(LIMITS.soon_s / PING_EVERY_S) + 2):
        for worker in shard.alive():
            worker.says.append((Alive(), bytearray()))
        shard.advance(PING_EVERY_S)
    for worker in shard.alive():
        worker.says += [(CameraClosed(camera=handle), bytearray()) for handle in worker.cameras]
    shard.read()
    shard.advance(0)

    (worker,) = shard.alive()
    assert sorted(worker.cameras) == sorted(feed.handle for feed in feeds)


def test_a_worker_that_hangs_is_ended_and_one_that_answers_is_not() -> None:
    shard = Shard(num_workers=2)
    hung, well = shard.open("c0"), shard.open("c1")
    hung_worker, well_worker = shard.worker_of(hung), shard.worker_of(well)
    for _ in range(8):
        shard.advance(PING_EVERY_S)
        well_worker.says.append((Alive(), bytearray()))

    assert hung_worker.has_ended
    assert not well_worker.has_ended
    assert any(isinstance(order, Ping) for order in well_worker.orders)
    assert "it hangs, no answer for 1.2 s" in shard.states["c0"][1]
    assert shard.worker_of(hung) is not hung_worker


@pytest.mark.parametrize(
    ("ran_share", "wants_cpu", "ends_after_s"),
    [(1.0, True, 1.25), (0.5, True, 1.25), (0.0, False, 1.25), (0.0, True, 5.0), (0.1, True, 5.0)],
    ids=["endless loop", "endless loop beside others", "stopped", "no core", "hardly a core"],
)
def test_a_worker_hangs_that_had_a_core_or_wants_none_and_one_that_waits_for_a_core_has_more_time(
    ran_share: float, wants_cpu: bool, ends_after_s: float
) -> None:
    shard = Shard(num_workers=1)
    shard.open("c0")
    (worker,) = shard.workers
    shard.advance(0)
    asked_s = shard.now_s
    assert isinstance(worker.orders[-1], Ping)

    while not worker.has_ended:
        worker.doing = Activity(ran_share * (shard.now_s - asked_s), wants_cpu)
        shard.advance(PING_EVERY_S)

    assert shard.now_s - asked_s == ends_after_s


def test_a_worker_whose_reports_take_long_to_be_read_is_not_taken_for_hung() -> None:
    """Its answer stands behind them, and all of its threads wait for the shard."""
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    (worker,) = shard.workers
    for _ in range(12):
        shard.advance(PING_EVERY_S)
        worker.says.append((StateChanged(camera=feed.handle, state=CameraState.LIVE), bytearray()))

    assert not worker.has_ended


def test_a_worker_that_says_more_than_any_does_is_ended() -> None:
    """Each state goes through the event loop of the shard."""
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    (worker,) = shard.workers
    state = StateChanged(camera=feed.handle, state=CameraState.LIVE)
    worker.says += [(state, bytearray())] * (MAX_REPORTS_AT_ONCE + 1)

    shard.read()

    assert worker.has_ended
    assert f"more than {MAX_REPORTS_PER_S} messages a second" in shard.states["c0"][1]


def test_a_shard_that_was_stopped_itself_ends_no_worker() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    shard.advance(PING_EVERY_S)
    shard.workers[0].says.append((Alive(), bytearray()))
    shard.now_s += 3_600

    shard.read()
    shard.supervisor.tick()

    assert shard.worker_of(feed) is shard.workers[0]


def test_workers_that_do_not_start_are_tried_with_growing_pauses_and_blame_no_camera() -> None:
    shard = Shard(num_workers=1)
    shard.can_start = False
    feed = shard.open("c0")
    shard.advance(FIRST_START_RETRY_S)

    state, detail, reason = shard.states["c0"]
    assert (state, reason) == (CameraState.BACKING_OFF, None)
    assert (
        detail
        == "its ingest worker does not start (Resource temporarily unavailable); try again at 1970-01-01 00:20:03 UTC"
    )
    shard.can_start = True
    shard.advance(1.0)
    assert shard.workers == []
    shard.advance(1.0)
    assert shard.worker_of(feed).cameras == [feed.handle]


def test_the_pause_before_a_worker_is_started_begins_anew_once_one_has_started() -> None:
    shard = Shard(num_workers=2)
    shard.can_start = False
    feed = shard.open("c0")
    for _ in range(8):
        shard.advance(LAST_START_RETRY_S)
    shard.can_start = True
    shard.advance(LAST_START_RETRY_S)
    assert shard.worker_of(feed).cameras == [feed.handle]

    shard.can_start = False
    later = shard.open("c1")

    assert later.retry_s - shard.now_s == FIRST_START_RETRY_S


def test_the_pause_before_a_worker_is_started_grows_while_an_older_one_lives() -> None:
    shard = Shard(num_workers=2)
    shard.open("c0")
    shard.can_start = False
    feed = shard.open("c1")
    for _ in range(8):
        shard.workers[0].says.append((Alive(), bytearray()))
        shard.read()
        shard.advance(max(0.0, feed.retry_s - shard.now_s))

    assert feed.retry_s - shard.now_s > 8 * FIRST_START_RETRY_S


@pytest.mark.parametrize("is_over", [False, True], ids=["a worker ends", "all end"])
def test_a_worker_that_cannot_be_freed_leaves_its_cameras_and_the_other_workers_as_they_are(is_over: bool) -> None:
    shard = Shard(num_workers=2)
    feeds = [shard.open("c0"), shard.open("c1")]
    worker, other = (shard.worker_of(feed) for feed in feeds)
    worker.cannot_be_freed = True

    if is_over:
        shard.supervisor.end()
        assert other.has_ended
    else:
        shard.crash(feeds[0])
        assert shard.worker_of(feeds[0]) not in (worker, other)
        assert not other.has_ended


def test_a_lowered_rate_reaches_the_worker_and_the_one_after_it() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    feed.limit_rate(0.5)
    assert shard.worker_of(feed).orders[-1] == LimitRate(camera=feed.handle, share=0.5)

    shard.crash(feed)

    (order,) = shard.worker_of(feed).orders
    assert isinstance(order, OpenCamera)
    assert order.rate_share == 0.5


def test_a_camera_without_an_address_leaves_a_worker_whose_resolv_conf_was_replaced_and_the_others_stay() -> None:
    """The new file is closed to that worker."""
    shard = Shard(num_workers=1)
    well, lost = shard.open("c0"), shard.open("c1")
    (old,) = shard.alive()
    shard.has_trouble(lost, SourceReason.NO_ADDRESS)
    shard.files = frozenset({(RESOLV_CONF, 0, 2)})
    shard.has_trouble(lost, SourceReason.UNAUTHORIZED)
    assert shard.alive() == [old]

    shard.has_trouble(lost, SourceReason.NO_ADDRESS)

    _, new = shard.alive()
    assert [*old.cameras[2:], *new.cameras] == [lost.handle]
    later = shard.open("c2")
    assert later.handle in new.cameras
    shard.has_trouble(lost, SourceReason.NO_ADDRESS)
    assert shard.alive() == [old, new]
    assert well.handle in old.cameras


def test_workers_whose_files_were_replaced_do_not_pile_up() -> None:
    shard = Shard(num_workers=1)
    for number in range(8):
        shard.open(f"well-{number}")
        lost = shard.open(f"lost-{number}")
        shard.files = frozenset({(RESOLV_CONF, 0, 2 + number)})
        shard.has_trouble(lost, SourceReason.NO_ADDRESS)

    assert len(shard.alive()) == 2


@pytest.mark.parametrize("side", [SIDE + 1, 2 * SIDE, 1])
def test_frames_of_a_size_that_the_model_does_not_read_end_the_worker(side: int) -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    says_clip(shard.workers[0], feed, 1.0, side=side)

    shard.read()

    assert shard.workers[0].has_ended
    assert f"frames of {side}x{side}" in shard.states["c0"][1]
    assert not shard.clips.has_clips()


@pytest.mark.parametrize(("time_s", "is_ended"), [(2.001, False), (2.0, True), (1.0, True)])
@pytest.mark.parametrize("can_wait", [False, True])
@pytest.mark.parametrize("is_new", [False, True], ids=["same worker", "next worker"])
def test_a_worker_whose_times_do_not_rise_is_ended(time_s: float, is_ended: bool, can_wait: bool, is_new: bool) -> None:
    """A memory is in the order of its times."""
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    says_clip(shard.worker_of(feed), feed, 2.0)
    shard.read()
    if is_new:
        shard.crash(feed)
    worker = shard.worker_of(feed)
    says_clip(worker, feed, time_s, can_wait=can_wait)
    shard.read()

    assert worker.has_ended is is_ended
    assert shard.clips.has_clips()


def test_a_worker_cannot_speak_for_a_camera_of_another() -> None:
    shard = Shard(num_workers=2)
    mine, foreign = shard.open("c0"), shard.open("c1")
    worker = shard.worker_of(mine)
    says_clip(worker, foreign, 1.0)
    worker.says.append((StateChanged(camera=foreign.handle, state=CameraState.ENDED), bytearray()))

    shard.read()

    assert not shard.clips.has_clips()
    assert "c1" not in shard.states


def test_a_clip_whose_source_can_wait_is_taken_when_there_is_space() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    (worker,) = shard.workers
    for number in range(6):
        says_clip(worker, feed, float(number), can_wait=True)
    shard.read()
    assert sum(isinstance(order, Taken) for order in worker.orders) == 4

    assert shard.clips.take() is not None
    shard.advance(0)

    assert sum(isinstance(order, Taken) for order in worker.orders) == 5
    assert shard.clips.dropped_frames("c0") == 0


def test_a_worker_that_sends_more_clips_than_are_taken_is_ended() -> None:
    """They would fill the shard's memory."""
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    (worker,) = shard.workers
    for number in range(1_000):
        says_clip(worker, feed, float(number), can_wait=True)

    shard.read()

    assert worker.has_ended
    assert "more than 16 clips" in shard.states["c0"][1]


class LaterDecoding(SegmentDecoding):
    """Decodes when the test has it decode."""

    def __init__(self) -> None:
        super().__init__(H100, BrokenFiles())
        self.work: list[Callable[[], None]] = []

    def submit(self, camera: int, work: Callable[[], None]) -> None:
        self.work.append(work)


def says_segment(worker: ScriptedWorker, feed: WorkerFeed, number: int) -> None:
    stream = StreamFormat("h264", "yuv420p", 1920, 1080, ColourMatrix.BT709)
    segment = CompressedSegment(camera=feed.handle, number=number, format=stream, indices=(0,), nbytes=4)
    worker.says.append((segment, bytearray(4)))


def test_a_worker_hears_of_each_of_its_segments() -> None:
    shard, decoding = Shard(num_workers=1), LaterDecoding()
    feed = shard.open("c0", decoding)
    (worker,) = shard.workers
    for number in (4, 5):
        says_segment(worker, feed, number)
        shard.read()
        decoding.work.pop()()

    decoded = [order for order in worker.orders if isinstance(order, SegmentDecoded)]
    assert [(order.camera, order.number, order.error) for order in decoded] == [
        (feed.handle, 4, "broken on purpose"),
        (feed.handle, 5, "broken on purpose"),
    ]


def test_a_worker_that_sends_a_segment_before_the_last_one_was_decoded_is_ended() -> None:
    """They would fill the shard's memory."""
    shard = Shard(num_workers=1)
    feed = shard.open("c0", LaterDecoding())
    (worker,) = shard.workers
    for number in (4, 5):
        says_segment(worker, feed, number)

    shard.read()

    assert worker.has_ended
    assert "before the last one was decoded" in shard.states["c0"][1]


def test_a_worker_that_sends_a_segment_where_nothing_decodes_is_ended() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    says_segment(shard.workers[0], feed, 4)

    shard.read()

    assert shard.workers[0].has_ended


def test_a_new_worker_does_not_hear_of_the_segments_of_the_one_before() -> None:
    shard, decoding = Shard(num_workers=1), LaterDecoding()
    feed = shard.open("c0", decoding)
    says_segment(shard.workers[0], feed, 4)
    shard.read()
    shard.crash(feed)
    worker = shard.worker_of(feed)

    decoding.work.pop()()
    says_segment(worker, feed, 4)
    shard.read()

    assert not any(isinstance(order, SegmentDecoded) for order in worker.orders)
    assert not worker.has_ended


def test_nothing_of_a_feed_passes_after_it_was_stopped() -> None:
    shard = Shard(num_workers=1)
    feed = shard.open("c0")
    says_clip(shard.workers[0], feed, 1.0)
    feed.request_stop()

    shard.read()

    assert not shard.clips.has_clips()
