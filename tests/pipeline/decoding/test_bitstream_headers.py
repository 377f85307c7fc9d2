"""The size and layout in the headers of compressed frames are parsed as the encoder wrote them; damage is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.bitstream_headers import CODECS, all_match
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import footage
from tests.pipeline.footage import HEIGHT, MJPEG, VP8, VP9, WIDTH, Footage

FOOTAGE = {
    "vp8": VP8,
    "vp8_hidden": replace(VP8, options={"lag-in-frames": "8", "auto-alt-ref": "1", "cpu-used": "5", "b": "200k"}),
    "vp9": VP9,
    "vp9_superframes": replace(VP9, options={"lag-in-frames": "8", "auto-alt-ref": "1", "cpu-used": "5", "b": "200k"}),
    "vp9_resilient": replace(VP9, options=VP9.options | {"error-resilient": "1"}),
    "vp9_422": replace(VP9, pixels="yuv422p"),
    "vp9_rgb": replace(VP9, pixels="gbrp"),
    "mjpeg": MJPEG,
    "mjpeg_444": replace(MJPEG, pixels="yuvj444p"),
}


def packets_of(path: Path) -> tuple[str, list[bytes]]:
    stream = Demuxer(FileUrl(path), IngestConfig())
    packets = [bytes(packet.body) for packet in stream.packets()]
    stream.close()
    return stream.codec, packets


@pytest.mark.parametrize("video", FOOTAGE.values(), ids=FOOTAGE)
@pytest.mark.parametrize("size", [(192, 112), (189, 111), (640, 18)])
def test_the_size_is_parsed_from_every_packet(video: Footage, size: tuple[int, int], tmp_path: Path) -> None:
    codec, packets = packets_of(footage.write(tmp_path / "video", replace(video, size=size, frames=24, gop=12)))
    width, height = size

    assert all_match(codec, packets, width, height)
    assert not all_match(codec, packets, width + 1, height)
    assert not all_match(codec, packets, width, height - 1)
    assert not all_match(codec, [packets[0][:3]], width, height)


def test_frames_of_two_layouts_do_not_match(tmp_path: Path) -> None:
    _, some = packets_of(footage.write(tmp_path / "some", MJPEG))
    _, others = packets_of(footage.write(tmp_path / "others", replace(MJPEG, pixels="yuvj422p")))

    assert all_match("mjpeg", some, WIDTH, HEIGHT)
    assert not all_match("mjpeg", [some[0], others[0]], WIDTH, HEIGHT)


@pytest.mark.parametrize("codec", sorted(CODECS))
@given(packets=st.lists(st.binary(max_size=80), max_size=5))
def test_random_bytes_match_nothing_and_raise_nothing(codec: str, packets: list[bytes]) -> None:
    assert not all_match(codec, packets, 65_537, 65_537)
