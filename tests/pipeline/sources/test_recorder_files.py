"""Files as recorders export them are read."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.pipeline import footage, servers
from tests.pipeline.playing import play
from tests.pipeline.rtsp_camera import FPS, h264_pictures

_START_CODE = b"\0\0\0\1"
_KEY, _DELTA = 0xFD, 0xFC


def dav(pictures: list[list[bytes]]) -> bytes:
    """A Dahua file of H.264: each picture with a head of its own, its time, and a tail."""
    data = b""
    for number, nals in enumerate(pictures):
        payload = b"".join(_START_CODE + nal for nal in nals)
        millis = number * 1000 // FPS
        date = 26 << 26 | 11 << 22 | 27 << 17 | 12 << 12 | 30 << 6 | millis // 1000
        extension = bytes((0x81, 0, 0x02, FPS)) + struct.pack("<BxxxHH", 0x82, footage.WIDTH, footage.HEIGHT)
        nbytes = 24 + len(extension) + len(payload) + 8
        kind = _KEY if any(nal[0] & 31 == 5 for nal in nals) else _DELTA
        head = struct.pack("<4sBBBBIIIHBB", b"DHAV", kind, 0, 0, 0, number, nbytes, date, millis % 1000,
                           len(extension), 0)  # fmt: skip
        data += head + extension + payload + struct.pack("<4sI", b"dhav", nbytes)
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports")
    (path / "gate.dav").write_bytes(dav(h264_pictures(80)))
    return path


def test_a_file_of_a_dahua_recorder_is_read(folder: Path) -> None:
    played = play(str(folder / "gate.dav"))

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 20, 40, 60]


def test_a_file_of_a_dahua_recorder_is_read_over_http(folder: Path) -> None:
    with servers.file_server(folder, has_ranges=True) as server:
        assert len(play(f"{server}/gate.dav").samples) == 4
