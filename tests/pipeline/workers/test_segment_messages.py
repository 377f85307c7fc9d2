"""What a worker says of a segment is parsed with bounds, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import StreamFormat
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers import messages
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.segment_decoding import CameraDecoder, SegmentDecoding
from pipeline.workers.segment_messages import MAX_DUE, MAX_SEGMENT_NBYTES, CompressedSegment
from pipeline.workers.watched_camera import WatchedCamera
from tests.pipeline.workers.file_decoders import H100, LibavFiles
from tests.pipeline.workers.json_values import JSON

FILE = bytes(range(40))
SEGMENT = CompressedSegment(
    camera=3,
    number=5,
    format=StreamFormat("h264", "yuv420p", 1920, 1080, ColourMatrix.BT709),
    indices=(0, 4, 9),
    nbytes=len(FILE),
)
HEADER = json.loads(messages.encode(SEGMENT))


def parse(header: dict[str, Any], body: bytes = FILE) -> object:
    return messages.parse_report(json.dumps(header).encode(), body)


def test_a_segment_arrives_as_it_was_sent() -> None:
    assert parse(HEADER) == SEGMENT


@settings(max_examples=300)
@given(key=st.sampled_from([*HEADER, "unknown"]), value=JSON)
def test_a_segment_with_one_damaged_value_is_refused_or_adds_up(key: str, value: object) -> None:
    try:
        segment = parse(HEADER | {key: value})
    except MalformedMessage:
        return
    assert isinstance(segment, CompressedSegment)
    assert segment.nbytes == len(FILE)
    assert 0 < len(segment.indices) <= MAX_DUE
    assert list(segment.indices) == sorted(set(segment.indices))
    assert segment.indices[0] >= 0


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": []},
        {"indices": [-1, 3]},
        {"indices": [3, 3]},
        {"indices": [4, 3]},
        {"indices": list(range(MAX_DUE + 1))},
        {"indices": [1 << 40]},
        {"indices": [0.5]},
        {"number": -1},
        {"nbytes": len(FILE) - 1},
        {"nbytes": len(FILE) + 1},
        {"nbytes": 0},
        {"nbytes": MAX_SEGMENT_NBYTES + 1},
        {"format": HEADER["format"] | {"width": "1920"}},
        {"format": HEADER["format"] | {"matrix": "sepia"}},
        {"format": HEADER["format"] | {"path": "/etc/passwd"}},
        {"format": {"codec": "h264"}},
    ],
    ids=str,
)
def test_values_that_no_worker_sends_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        parse(HEADER | changes)


@pytest.mark.parametrize("body", [b"", FILE[:-1], FILE + b"x"], ids=["missing", "truncated", "longer"])
def test_a_segment_of_another_length_than_it_says_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage, match="expected 40"):
        parse(HEADER, body)


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "mjpeg"},
        {"codec": "vp8"},
        {"codec": "x" * 30_000},
        {"pixel_format": "yuv444p"},
        {"width": 4097, "codec": "hevc"},
        {"height": 10**30},
        {"width": 0},
        {"width": -1920},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_stream_that_is_not_decoded_in_the_shard_never_reaches_its_decoder(changes: dict[str, Any]) -> None:
    """It would be a file for which the decoder has no limits."""
    segment = parse(HEADER | {"format": HEADER["format"] | changes})
    assert isinstance(segment, CompressedSegment)
    camera = WatchedCamera(
        spec=CameraSpec(name="lobby", url="rtsp://10.0.0.1/"),
        config=IngestConfig(),
        fit=FrameFit(cell=64, max_cells=1, side=64),
        camera_id="lobby",
        resume_from_s=None,
        started_s=0.0,
    )
    files = LibavFiles()
    decoder = CameraDecoder(3, camera, SegmentDecoding(H100, files))

    with pytest.raises(MalformedMessage) as refused:
        decoder.decode(segment, bytearray(FILE), lambda _decoded, _body: None)

    assert len(str(refused.value)) < 200
    assert not files.formats
