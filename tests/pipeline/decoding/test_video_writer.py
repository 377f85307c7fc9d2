"""Videos that were written can be decoded."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import av
import pytest
import torch

from pipeline.decoding.video_writer import LIVE_CONTAINERS, Codec, write_stream, write_video
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import footage
from tests.pipeline.playing import play


@pytest.mark.parametrize("codec", ["h264", "vp9", "mjpeg"])
def test_a_video_is_decoded_as_it_was_written(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "video"

    count = write_video((footage.draw(number) for number in range(40)), path, fps=8, codec=codec, gop_s=1)

    played = play(str(path))
    assert count == 40
    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == list(range(0, 40, 4))
    stream = Demuxer(FileUrl(path), IngestConfig())
    keys = [round(packet.pts_s * 8) for packet in stream.packets() if packet.is_key]
    assert stream.codec == codec
    assert keys == (list(range(40)) if codec == "mjpeg" else [0, 8, 16, 24, 32])
    stream.close()


def test_a_video_needs_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images"):
        write_video([], tmp_path / "video", fps=8, codec="h264")


@pytest.mark.parametrize(
    ("name", "value"), [("sample_fps", 0), ("frames_per_clip", 65), ("max_gop_s", 0.5), ("device", "tpu")]
)
def test_a_limit_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"ingest\.{name} is '?{value}"):
        IngestConfig(**{name: value})


class Connection:
    """A sink whose reader leaves after `limit_nbytes`."""

    def __init__(self, limit_nbytes: int) -> None:
        self.received = io.BytesIO()
        self._limit_nbytes = limit_nbytes

    def write(self, data: bytes) -> int:
        if self.received.tell() > self._limit_nbytes:
            raise BrokenPipeError
        return self.received.write(data)


@pytest.mark.parametrize("codec", ["h264", "vp9", "mjpeg"])
def test_a_live_stream_ends_when_its_reader_leaves(codec: Codec) -> None:
    """What was received until then can be decoded."""
    connection = Connection(50_000)

    write_stream((footage.draw(number % 40) for number in itertools.count()), connection, fps=8, codec=codec)

    connection.received.seek(0)
    with av.open(connection.received, format=LIVE_CONTAINERS[codec][0]) as received:
        frames = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(received.decode(video=0), 4)]
    assert [footage.number_of(torch.from_numpy(frame)) for frame in frames] == [0, 1, 2, 3]
