"""The threads of a shard that decode for its workers: what they do not do, and how they end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from structlog.testing import capture_logs

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import DecodedFrame, StreamFormat
from pipeline.decoding.images import ArrayImage
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.segment_decoding import CameraDecoder, SegmentDecoding
from pipeline.workers.segment_messages import CompressedSegment, SegmentDecoded
from pipeline.workers.watched_camera import WatchedCamera
from tests.pipeline.workers.file_decoders import H100

TIMEOUT_S = 60.0
FORMAT = StreamFormat("h264", "yuv420p", 320, 180, ColourMatrix.BT709)
CAMERA = WatchedCamera(
    spec=CameraSpec(name="lobby", url="rtsp://10.0.0.1/"),
    config=IngestConfig(),
    fit=FrameFit(cell=64, max_cells=1, side=64),
    camera_id="lobby",
    resume_from_s=None,
    started_s=0.0,
)


class HeldFiles:
    """Gives grey images, of each file when the test lets it."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.has_begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, stream: StreamFormat) -> HeldFiles:
        return self

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        self.files.append(bytes(file))
        self.has_begun.release()
        assert self.may_end.acquire(timeout=TIMEOUT_S)
        for index in indices:
            yield DecodedFrame(index, ArrayImage(np.full((180, 320, 3), 128, np.uint8)))


class Answers:
    """What a worker hears."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._has_come = threading.Semaphore(0)

    def __call__(self, decoded: SegmentDecoded, body: list[memoryview]) -> None:
        assert not decoded.error
        self.numbers.append(decoded.number)
        self._has_come.release()

    def wait(self) -> None:
        assert self._has_come.acquire(timeout=TIMEOUT_S)


def hand_over(decoder: CameraDecoder, number: int, answers: Callable[..., None], camera: int = 0) -> None:
    segment = CompressedSegment(camera=camera, number=number, format=FORMAT, indices=(0,), nbytes=1)
    decoder.decode(segment, bytearray([number]), answers)


@pytest.fixture
def files() -> Iterator[HeldFiles]:
    files = HeldFiles()
    yield files
    files.may_end.release(100)


def test_a_camera_has_at_most_one_segment_waiting_however_often_its_workers_end(files: HeldFiles) -> None:
    """Each of them may have 32 MiB, and nobody wants the images of a worker that has ended."""
    decoding, answers = SegmentDecoding(H100, files, num_threads=1), Answers()
    decoder = CameraDecoder(0, CAMERA, decoding)
    hand_over(decoder, 1, answers)
    assert files.has_begun.acquire(timeout=TIMEOUT_S)
    for number in range(2, 6):
        hand_over(decoder, number, answers)

    files.may_end.release(10)
    answers.wait()
    answers.wait()
    hand_over(decoder, 6, answers)
    answers.wait()

    assert answers.numbers == [1, 5, 6]
    assert files.files == [b"\x01", b"\x05", b"\x06"]
    decoding.close()


def test_segments_that_wait_when_a_shard_ends_are_not_decoded(files: HeldFiles) -> None:
    decoding, answers = SegmentDecoding(H100, files, num_threads=1), Answers()
    cameras = [CameraDecoder(handle, CAMERA, decoding) for handle in range(3)]
    for number, decoder in enumerate(cameras):
        hand_over(decoder, number, answers, camera=number)
    assert files.has_begun.acquire(timeout=TIMEOUT_S)

    decoding.close(timeout_s=0.0)
    files.may_end.release(10)
    decoding.close()

    assert files.files == [b"\x00"]


def test_threads_that_hang_hold_no_shard_back(files: HeldFiles) -> None:
    decoding = SegmentDecoding(H100, files, num_threads=4)
    for handle in range(4):
        hand_over(CameraDecoder(handle, CAMERA, decoding), handle, Answers(), camera=handle)
        assert files.has_begun.acquire(timeout=TIMEOUT_S)

    decoding.close(timeout_s=0.0)


def test_a_thread_that_cannot_be_prepared_decodes_all_the_same(files: HeldFiles) -> None:
    def fails() -> None:
        raise RuntimeError("CUDA error: out of memory")

    answers = Answers()
    with capture_logs() as logged:
        decoding = SegmentDecoding(H100, files, num_threads=1, prepare_thread=fails)
        files.may_end.release()
        hand_over(CameraDecoder(0, CAMERA, decoding), 3, answers)
        answers.wait()

    assert answers.numbers == [3]
    assert [event["event"] for event in logged] == ["decode_thread_not_prepared"]
    decoding.close()
