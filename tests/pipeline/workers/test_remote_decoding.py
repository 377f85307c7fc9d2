"""A worker gets the images of its segments from the shard, or a DecodeError that has its own decoder go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import DecodeError, Decoder, DecoderBusy, StreamFormat
from pipeline.decoding.images import ReducedImage
from pipeline.decoding.segments import Segment
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers import segment_messages
from pipeline.workers.messages import OpenCamera
from pipeline.workers.remote_decoding import FIRST_PAUSE_S, LAST_PAUSE_S, RemoteDecoding
from pipeline.workers.segment_messages import MAX_DUE, MAX_SEGMENT_NBYTES, CompressedSegment, SegmentDecoded
from tests.pipeline.workers.file_decoders import H100

FORMAT = StreamFormat("h264", "yuv420p", 1920, 1080, ColourMatrix.BT709)
ORDER = OpenCamera(
    camera=3,
    camera_id="id",
    spec=CameraSpec(name="lobby", url="rtsp://10.0.0.1/"),
    config=IngestConfig(),
    fit=FrameFit(cell=64, max_cells=1, side=64),
    resume_from_s=None,
    started_s=0.0,
    gpu=H100,
)
SEGMENT = Segment((), ())
PICTURE = np.zeros((64, 64, 3), np.uint8)


class Stream:
    """An opened stream whose files have so many bytes."""

    def __init__(self, nbytes: int = 10, stream: StreamFormat = FORMAT) -> None:
        self.format, self._file = stream, bytes(nbytes)

    def remux(self, segment: Segment) -> bytes:
        return self._file


class FakeShard:
    """A shard that responds at once, as the test says. None: it does not respond."""

    def __init__(
        self,
        respond: Callable[[CompressedSegment], SegmentDecoded | None],
        *,
        timeout_s: float = 10.0,
        order: OpenCamera = ORDER,
    ) -> None:
        self.segments: list[CompressedSegment] = []
        self.now_s = 1_000.0
        self._respond = respond
        self.decoding = RemoteDecoding(
            order, itertools.count(7), self._send, timeout_s=timeout_s, clock=lambda: self.now_s
        )

    def decoder(self, stream: Stream) -> Decoder:
        decoder = self.decoding(stream, "auto")
        assert decoder is not None
        return decoder

    def _send(self, segment: CompressedSegment, file: memoryview) -> None:
        assert segment.nbytes == len(file)
        self.segments.append(segment)
        if (decoded := self._respond(segment)) is not None:
            self.decoding.receive(decoded, body_of(segment))


def body_of(segment: CompressedSegment) -> bytearray:
    _, body = segment_messages.response(segment, images(segment))
    return bytearray(b"".join(body))


def images(segment: CompressedSegment) -> dict[int, ReducedImage]:
    return {index: ReducedImage(PICTURE + index, PICTURE[:8]) for index in segment.indices}


def decodes(segment: CompressedSegment) -> SegmentDecoded:
    return segment_messages.response(segment, images(segment))[0]


def fails(segment: CompressedSegment) -> SegmentDecoded:
    return SegmentDecoded(camera=segment.camera, number=segment.number, error="DALI (mixed): broken")


def test_images_come_in_messages_of_bounded_size() -> None:
    shard = FakeShard(decodes)
    due = list(range(0, 80, 2))

    decoded = list(shard.decoder(Stream()).decode(SEGMENT, due))

    assert [image.index for image in decoded] == due
    assert all((image.image.to_rgb() == image.index).all() for image in decoded)
    assert [image.image.to_preview().shape for image in decoded] == [(8, 64, 3)] * 40
    assert [len(segment.indices) for segment in shard.segments] == [MAX_DUE, MAX_DUE, 40 - 2 * MAX_DUE]
    assert [segment.number for segment in shard.segments] == list(range(7, 7 + len(shard.segments)))


@pytest.mark.parametrize(("thumbnail_width", "at_once"), [(1920, 1), (960, 2)])
def test_of_large_images_few_are_asked_for_at_once(thumbnail_width: int, at_once: int) -> None:
    order = ORDER.model_copy(update={"config": IngestConfig(thumbnail_width=thumbnail_width)})
    shard = FakeShard(decodes, order=order)

    list(shard.decoder(Stream()).decode(SEGMENT, range(4)))

    assert {len(segment.indices) for segment in shard.segments} == {at_once}


def test_what_the_shard_fails_at_is_a_decode_error() -> None:
    decoder = FakeShard(fails).decoder(Stream())

    for _ in range(2):
        with pytest.raises(DecodeError, match="broken"):
            list(decoder.decode(SEGMENT, [0]))


def test_a_segment_beyond_the_limit_is_not_sent() -> None:
    shard = FakeShard(decodes)

    with pytest.raises(DecodeError, match=f"limit {MAX_SEGMENT_NBYTES}"):
        list(shard.decoder(Stream(MAX_SEGMENT_NBYTES + 1)).decode(SEGMENT, [0]))

    assert not shard.segments


def test_a_shard_that_is_late_gets_no_other_segment_until_it_has_responded() -> None:
    is_late = True
    shard = FakeShard(lambda segment: None if is_late else decodes(segment), timeout_s=0.0)
    decoder = shard.decoder(Stream())

    with pytest.raises(DecoderBusy, match="within 0 s"):
        list(decoder.decode(SEGMENT, [0]))
    shard.now_s += FIRST_PAUSE_S
    with pytest.raises(DecoderBusy, match="the segment before"):
        list(decoder.decode(SEGMENT, [5]))
    assert len(shard.segments) == 1
    (late,) = shard.segments
    shard.decoding.receive(decodes(late), body_of(late))
    is_late = False

    assert [decoded.index for decoded in decoder.decode(SEGMENT, [9])] == [9]


def test_a_shard_that_is_late_again_and_again_is_waited_for_more_and_more_rarely() -> None:
    """Each wait costs the frames that come meanwhile."""
    is_late = True
    shard = FakeShard(lambda segment: None if is_late else decodes(segment), timeout_s=0.0)
    decoder, began_s = shard.decoder(Stream()), shard.now_s

    def ask_until(now_s: float) -> list[float]:
        """When it was asked, in seconds since the begin. It responds too late."""
        asked_s = []
        while shard.now_s < now_s:
            with suppress(DecoderBusy):
                list(decoder.decode(SEGMENT, [0]))
            if len(shard.segments) > len(asked_s):
                asked_s.append(shard.now_s - began_s)
                shard.decoding.receive(decodes(shard.segments[-1]), body_of(shard.segments[-1]))
            shard.now_s += FIRST_PAUSE_S / 2
        shard.segments.clear()
        return asked_s

    assert ask_until(began_s + 3_000) == [0, 30, 90, 210, 450, 930, 930 + LAST_PAUSE_S, 930 + 2 * LAST_PAUSE_S]
    shard.now_s += LAST_PAUSE_S
    is_late = False
    assert [decoded.index for decoded in decoder.decode(SEGMENT, [9])] == [9]
    is_late, began_s = True, shard.now_s
    shard.segments.clear()
    assert ask_until(began_s + 100) == [0, 30, 90]


def test_the_response_to_another_segment_is_ignored() -> None:
    shard = FakeShard(lambda segment: decodes(segment.model_copy(update={"number": 1})), timeout_s=0.0)

    with pytest.raises(DecodeError, match="within 0 s"):
        list(shard.decoder(Stream()).decode(SEGMENT, [0]))


def test_a_camera_that_is_closed_waits_no_longer() -> None:
    shard = FakeShard(lambda segment: shard.decoding.close())

    assert list(shard.decoder(Stream()).decode(SEGMENT, [0])) == []


@pytest.mark.parametrize(
    "stream",
    [
        StreamFormat("mjpeg", "yuvj420p", 1920, 1080, ColourMatrix.BT601),
        StreamFormat("h264", "yuv420p10le", 1920, 1080, ColourMatrix.BT601),
        StreamFormat("h264", "yuv420p", 5120, 2880, ColourMatrix.BT601),
    ],
    ids=["codec", "pixels", "size"],
)
def test_a_stream_that_the_gpu_does_not_decode_stays_in_the_worker(stream: StreamFormat) -> None:
    assert FakeShard(decodes).decoding(Stream(stream=stream), "auto") is None


def test_without_a_gpu_every_stream_stays_in_the_worker() -> None:
    order = ORDER.model_copy(update={"gpu": None})

    assert RemoteDecoding(order, itertools.count(), lambda _header, _body: None)(Stream(), "auto") is None
