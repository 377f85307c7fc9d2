"""The shard's side of decoding for workers: threads that turn segments into masked images of the model's size."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from pipeline.decoding.decoders import DecodeError, DecoderBackend, FileDecoder, StreamFormat, choose_backend
from pipeline.decoding.images import ReducedImage
from pipeline.decoding.reduction import ImageReducer
from pipeline.workers import segment_messages
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.segment_messages import CompressedSegment, SegmentDecoded
from pipeline.workers.watched_camera import WatchedCamera

log = structlog.get_logger(__name__)

NUM_THREADS = 4  # of one shard: a GPU has few decoders
_CLOSE_S = 5.0
OnDecoded = Callable[[SegmentDecoded, list[memoryview]], None]


class SegmentDecoding:
    """Decodes on a few threads, none of which is the device's. The segments of one camera stay on one of them."""

    def __init__(
        self,
        gpu: tuple[int, int],
        new_decoder: Callable[[StreamFormat], FileDecoder],
        num_threads: int = NUM_THREADS,
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """gpu: the compute capability of the GPU, which says what it decodes. new_decoder: a decoder of one stream.

        prepare_thread: called first on each of the threads.
        """
        self.gpu, self.new_decoder = gpu, new_decoder
        self._threads = [_DecodeThread(f"decode-{number}", prepare_thread) for number in range(num_threads)]

    def submit(self, camera: int, work: Callable[[], None]) -> None:
        """Queues work on the camera's thread. To be called by one thread."""
        self._threads[camera % len(self._threads)].put(work)

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Ends the threads, and blocks for at most `timeout_s`, whatever their number, until they have ended."""
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.request_end()
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))


class CameraDecoder:
    """Decodes the segments of one camera. A worker gives it one at a time.

    A segment that waits when the next one comes is of a worker that has ended: nobody wants its images.
    """

    def __init__(self, handle: int, camera: WatchedCamera, decoding: SegmentDecoding) -> None:
        self._handle, self._camera, self._decoding = handle, camera, decoding
        self._reducer = ImageReducer(camera.spec.masks, camera.fit, camera.config.thumbnail_width)
        self._format: StreamFormat | None = None
        self._decoder: FileDecoder | None = None
        self._waiting: deque[tuple[CompressedSegment, bytearray, OnDecoded]] = deque(maxlen=1)

    @property
    def gpu(self) -> tuple[int, int]:
        """The compute capability of the GPU that decodes."""
        return self._decoding.gpu

    def decode(self, segment: CompressedSegment, file: bytearray, on_decoded: OnDecoded) -> None:
        """Decodes a segment on another thread, which calls `on_decoded`. Raises MalformedMessage."""
        self._camera.require_allowed(segment.format)
        if choose_backend(segment.format, self.gpu) is not DecoderBackend.DALI_GPU:
            raise MalformedMessage(f"a segment of {segment.format.codec[:20]!r} that a GPU does not decode")
        self._waiting.append((segment, file, on_decoded))
        self._decoding.submit(self._handle, self._decode_newest)

    def _decode_newest(self) -> None:
        try:
            segment, file, on_decoded = self._waiting.pop()
        except IndexError:  # the call before was for this one, which took the place of its own
            return
        on_decoded(*self._response(segment, file))

    def _response(self, segment: CompressedSegment, file: bytearray) -> tuple[SegmentDecoded, list[memoryview]]:
        try:
            return segment_messages.response(segment, self._images(segment, file))
        except DecodeError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the guard of this thread: the worker decodes the segment itself then
            log.error("segment_failed", camera=self._camera.spec.name, error=type(error).__name__)
            reason = f"internal error: {type(error).__name__}"
        return SegmentDecoded(camera=segment.camera, number=segment.number, error=reason), []

    def _images(self, segment: CompressedSegment, file: bytearray) -> dict[int, ReducedImage]:
        if self._decoder is None or segment.format != self._format:
            self._format, self._decoder = segment.format, self._decoding.new_decoder(segment.format)
        images = self._decoder.decode(file, segment.indices)
        return {decoded.index: self._reducer.reduce(decoded.image) for decoded in images}


class _DecodeThread:
    """A thread that starts with its first work. Its queue is bounded by its cameras, each of which has one segment."""

    def __init__(self, name: str, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._is_ended = False
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if self._thread.ident is None:
            self._thread.start()

    def request_end(self) -> None:
        """Work that waits is not done any more."""
        self._is_ended = True
        self._work.put(None)

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - a thread that ended would leave all of its cameras waiting
            log.error("decode_thread_not_prepared", thread=self._thread.name, error=type(error).__name__)
        while (work := self._work.get()) is not None and not self._is_ended:
            work()
