"""The worker's side of decoding in its shard: sends segments and waits for the images. Knows no GPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline.decoding.decoders import (
    CompressedStream,
    DecodedFrame,
    DecodeError,
    DecoderBackend,
    DecoderBusy,
    RemuxingDecoder,
    StreamFormat,
    choose_backend,
)
from pipeline.workers import backoff, segment_messages
from pipeline.workers.messages import OpenCamera
from pipeline.workers.segment_messages import MAX_DUE, MAX_SEGMENT_NBYTES, CompressedSegment, SegmentDecoded

RESPONSE_NBYTES = 4 << 20  # of images that are requested at once, unless one alone has more
TIMEOUT_S = 10.0
FIRST_PAUSE_S, LAST_PAUSE_S = 30.0, 960.0  # after a shard that was late: each wait for it costs frames


class RemoteDecoding:
    """A DecoderFactory for one camera: the shard decodes the streams that its GPU can decode.

    One segment at a time is with the shard. While one is late, and in a pause after that which grows each time, the
    next ones fail at once.
    """

    def __init__(
        self,
        order: OpenCamera,
        numbers: Iterator[int],
        send: Callable[[CompressedSegment, memoryview], None],
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """numbers: of segments, unique in this process."""
        self._order, self._numbers, self._send, self._timeout_s = order, numbers, send, timeout_s
        self._clock = clock
        self._times_late, self._retry_s = 0, 0.0  # in a row; when the shard is asked again
        self._changed = threading.Condition()
        self._number: int | None = None  # of the segment that is with the shard
        self._response: tuple[SegmentDecoded, bytearray] | None = None
        self._is_closed = False

    def __call__(self, stream: CompressedStream, device: str) -> RemuxingDecoder | None:
        """As DecoderFactory specifies."""
        if choose_backend(stream.format, self._order.gpu) is not DecoderBackend.DALI_GPU:
            return None
        return RemuxingDecoder(stream.remux, _RemoteDecoder(self, stream.format, self._max_images(stream.format)))

    def request(self, stream: StreamFormat, file: bytes | bytearray, indices: Sequence[int]) -> Sequence[DecodedFrame]:
        """The images of a segment, from the shard; none after `close`. Blocks. Raises DecodeError."""
        with self._changed:
            if self._number is not None:
                raise DecoderBusy("the shard has not decoded the segment before")
            if (pause_s := self._retry_s - self._clock()) > 0:
                raise DecoderBusy(f"the shard was late; it gets the next segment in {pause_s:.0f} s")
            number = self._number = next(self._numbers)
            self._response = None
        header = CompressedSegment(
            camera=self._order.camera, number=number, format=stream, indices=tuple(indices), nbytes=len(file)
        )
        self._send(header, memoryview(file))
        with self._changed:
            self._changed.wait_for(lambda: self._response is not None or self._is_closed, self._timeout_s)
            if self._is_closed:
                return ()
            response, self._response = self._response, None
        if response is None:
            self._pause()
            raise DecoderBusy(f"the shard gave no images within {self._timeout_s:g} s")
        self._times_late = 0
        decoded, body = response
        if decoded.error:
            raise DecodeError(decoded.error)
        return segment_messages.images_of(decoded, body)

    def receive(self, decoded: SegmentDecoded, body: bytearray) -> None:
        """Takes the response to a segment; one to an earlier segment is ignored."""
        with self._changed:
            if decoded.number == self._number:
                self._number, self._response = None, (decoded, body)
                self._changed.notify_all()

    def close(self) -> None:
        """Ends every wait: the camera is closed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _pause(self) -> None:
        self._retry_s = self._clock() + backoff.pause_s(FIRST_PAUSE_S, LAST_PAUSE_S, self._times_late)
        self._times_late += 1

    def _max_images(self, stream: StreamFormat) -> int:
        width, height = self._order.fit(stream.width, stream.height)
        thumbnail = min(self._order.config.thumbnail_width, stream.width) ** 2 * stream.height // stream.width
        return min(MAX_DUE, max(1, RESPONSE_NBYTES // (3 * (width * height + thumbnail))))


class _RemoteDecoder:
    """A FileDecoder of one stream."""

    def __init__(self, decoding: RemoteDecoding, stream: StreamFormat, max_images: int) -> None:
        self._decoding, self._stream, self._max_images = decoding, stream, max_images

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        if len(file) > MAX_SEGMENT_NBYTES:
            raise DecodeError(f"a segment of {len(file)} bytes for the shard (limit {MAX_SEGMENT_NBYTES})")
        for at in range(0, len(indices), self._max_images):
            yield from self._decoding.request(self._stream, file, indices[at : at + self._max_images])
