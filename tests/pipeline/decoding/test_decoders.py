"""Every decoder gives the same images for the same times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from pipeline.decoding import dali
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.dali import DaliDecoder
from pipeline.decoding.decoders import (
    MAX_FAILURES,
    DecodedFrame,
    DecodeError,
    Decoder,
    DecoderBackend,
    DecoderBusy,
    FallbackDecoder,
    RemuxingDecoder,
    StreamFormat,
    choose_backend,
)
from pipeline.decoding.segments import GopSplitter, Segment
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import footage
from tests.pipeline.footage import H264, MJPEG, VP8, VP9, Footage

A100, H100 = (8, 0), (9, 0)
DALI_FOOTAGE = {
    "vp9": VP9,
    "vp9_bt709": replace(VP9, colorspace=1),
    "vp9_444": replace(VP9, pixels="yuv444p"),
    "vp9_odd": replace(VP9, size=(189, 111)),
    "vp9_hidden": replace(VP9, options={"lag-in-frames": "8", "auto-alt-ref": "1", "cpu-used": "5", "b": "200k"}),
    "vp8": VP8,
    "vp8_odd": replace(VP8, size=(189, 111)),
    "vp8_hidden": replace(VP8, options={"lag-in-frames": "8", "auto-alt-ref": "1", "cpu-used": "5", "b": "200k"}),
    "mjpeg": MJPEG,
    "mjpeg_422": replace(MJPEG, pixels="yuvj422p"),
    "mjpeg_444": replace(MJPEG, pixels="yuvj444p"),
}


class OpenedVideo:
    """A video, its segments, and a DALI decoder for it."""

    def __init__(self, path: Path) -> None:
        self.stream = Demuxer(FileUrl(path), IngestConfig())
        splitter = GopSplitter(30, 30, 1 << 26, is_intra=self.stream.is_intra)
        segments = [splitter.add(packet) for packet in self.stream.packets()] + [splitter.flush()]
        self.segments = [segment for segment in segments if segment is not None]
        self.dali = RemuxingDecoder(self.stream.remux, dali.file_decoder(self.stream.format, "cpu"))


@pytest.fixture
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenedVideo]:
    opened = OpenedVideo(footage.write(tmp_path / "video", request.param))
    yield opened
    opened.stream.close()


@pytest.mark.parametrize("opened", DALI_FOOTAGE.values(), ids=DALI_FOOTAGE, indirect=True)
def test_dali_and_libav_give_the_same_images(opened: OpenedVideo) -> None:
    segment = opened.segments[0]
    indices = range(0, len(segment.times_s), 3)

    by_dali = list(opened.dali.decode(segment, indices))
    by_libav = list(opened.stream.decoder.decode(segment, indices))

    assert [decoded.index for decoded in by_dali] == [decoded.index for decoded in by_libav] == list(indices)
    for ours, theirs in zip(by_dali, by_libav, strict=True):
        difference = np.abs(ours.image.to_rgb().astype(int) - theirs.image.to_rgb())
        assert difference.mean() < 1.0
        assert footage.number_of(ours.image.to_rgb()) == footage.number_of(theirs.image.to_rgb())


@pytest.mark.parametrize("opened", DALI_FOOTAGE.values(), ids=DALI_FOOTAGE, indirect=True)
def test_the_images_of_a_segment_are_those_of_its_times(opened: OpenedVideo) -> None:
    for segment in opened.segments[:3]:
        for decoder in (opened.dali, opened.stream.decoder):
            images = list(decoder.decode(segment, range(len(segment.times_s))))

            numbers = [footage.number_of(decoded.image.to_rgb()) for decoded in images]
            assert numbers == [round(time_s * 10) for time_s in segment.times_s]


@pytest.mark.parametrize("colorspace", [None, 5, 1, 9], ids=["untagged", "bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("video", [VP9, H264], ids=["vp9", "h264"])
def test_colours_are_decoded_as_they_were_encoded(video: Footage, colorspace: int | None, tmp_path: Path) -> None:
    opened = OpenedVideo(footage.write(tmp_path / "video", replace(video, colorspace=colorspace)))
    decoders = [opened.stream.decoder] if video is H264 else [opened.stream.decoder, opened.dali]

    for decoder in decoders:
        (decoded,) = decoder.decode(opened.segments[0], [0])

        drawn = footage.draw(0).astype(int)
        assert np.abs(decoded.image.to_rgb() - drawn).mean() < 2.5


@pytest.mark.parametrize("opened", [VP9], ids=["vp9"], indirect=True)
def test_dali_still_decodes_after_a_damaged_segment(opened: OpenedVideo) -> None:
    good = opened.segments[0]
    damaged = RemuxingDecoder(lambda segment: b"no video" * 100, DaliDecoder("cpu", image_nbytes=1))
    short = range(len(good.times_s), len(good.times_s) + 2)

    with pytest.raises(DecodeError):
        damaged.decode(good, [0])
    with pytest.raises(DecodeError):
        opened.dali.decode(good, short)

    assert footage.number_of(next(iter(opened.dali.decode(good, [4]))).image.to_rgb()) == 4


@pytest.mark.parametrize("opened", [VP9], ids=["vp9"], indirect=True)
def test_large_images_are_decoded_few_at_a_time(opened: OpenedVideo) -> None:
    decoder = RemuxingDecoder(opened.stream.remux, DaliDecoder("cpu", image_nbytes=30 << 20))

    images = list(decoder.decode(opened.segments[0], [1, 2, 5, 6, 9]))

    assert [footage.number_of(decoded.image.to_rgb()) for decoded in images] == [1, 2, 5, 6, 9]


class BrokenDecoder:
    """Fails at every segment."""

    def __init__(self) -> None:
        self.calls = 0

    def decode(self, segment: Segment, indices: Sequence[int]) -> list[DecodedFrame]:
        self.calls += 1
        raise DecodeError("broken on purpose")


@pytest.mark.parametrize("opened", [VP9], ids=["vp9"], indirect=True)
def test_the_second_decoder_decodes_what_the_first_fails_at(opened: OpenedVideo) -> None:
    broken = BrokenDecoder()
    decoder = FallbackDecoder(broken, opened.stream.decoder, camera="lobby")

    for _ in range(MAX_FAILURES + 2):
        (decoded,) = decoder.decode(opened.segments[0], [7])
        assert footage.number_of(decoded.image.to_rgb()) == 7

    assert broken.calls == decoder.failures == MAX_FAILURES


class LateDecoder:
    """Fails behind its first image."""

    def __init__(self, whole: Decoder) -> None:
        self._whole = whole

    def decode(self, segment: Segment, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        yield next(iter(self._whole.decode(segment, indices)))
        raise DecodeError("broken on purpose")


@pytest.mark.parametrize("opened", [VP9], ids=["vp9"], indirect=True)
def test_the_second_decoder_goes_on_where_the_first_fails(opened: OpenedVideo) -> None:
    libav = opened.stream.decoder
    decoder = FallbackDecoder(LateDecoder(libav), libav, camera="lobby")

    images = list(decoder.decode(opened.segments[0], [1, 4, 7]))

    assert [footage.number_of(decoded.image.to_rgb()) for decoded in images] == [1, 4, 7]


class BusyDecoder:
    """Has no time at first."""

    def __init__(self, whole: Decoder, busy_times: int) -> None:
        self._whole, self._busy_times = whole, busy_times
        self.calls = self.decoded = 0

    def decode(self, segment: Segment, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        self.calls += 1
        if self.calls <= self._busy_times:
            raise DecoderBusy("busy on purpose")
        yield from self._whole.decode(segment, indices)
        self.decoded += 1


@pytest.mark.parametrize("opened", [VP9], ids=["vp9"], indirect=True)
def test_a_first_decoder_that_has_no_time_for_long_decodes_again_when_it_has(opened: OpenedVideo) -> None:
    libav, busy_times = opened.stream.decoder, 2 * MAX_FAILURES
    busy = BusyDecoder(libav, busy_times)
    decoder = FallbackDecoder(busy, libav, camera="lobby")

    with capture_logs() as logged:
        for _ in range(busy_times + 2):
            (decoded,) = decoder.decode(opened.segments[0], [7])
            assert footage.number_of(decoded.image.to_rgb()) == 7

    assert (busy.calls, busy.decoded, decoder.failures) == (busy_times + 2, 2, 0)
    assert [event["reason"] for event in logged] == ["busy on purpose"]


@pytest.mark.parametrize("opened", [VP9], ids=["vp9"], indirect=True)
def test_each_time_that_a_decoder_has_no_time_is_said_once(opened: OpenedVideo) -> None:
    libav = opened.stream.decoder
    busy = BusyDecoder(libav, 1)
    decoder = FallbackDecoder(busy, libav, camera="lobby")

    with capture_logs() as logged:
        for _ in range(2):
            busy.calls = 0
            for _ in range(2):
                list(decoder.decode(opened.segments[0], [7]))

    assert len(logged) == 2


@pytest.mark.parametrize(
    ("codec", "on_gpu", "on_cpu"),
    [
        ("h264", DecoderBackend.DALI_GPU, DecoderBackend.LIBAV),
        ("hevc", DecoderBackend.DALI_GPU, DecoderBackend.LIBAV),
        ("av1", DecoderBackend.DALI_GPU, DecoderBackend.LIBAV),
        ("mpeg4", DecoderBackend.DALI_GPU, DecoderBackend.LIBAV),
        ("vp9", DecoderBackend.DALI_GPU, DecoderBackend.DALI_CPU),
        ("vp8", DecoderBackend.DALI_CPU, DecoderBackend.DALI_CPU),
        ("mjpeg", DecoderBackend.DALI_CPU, DecoderBackend.DALI_CPU),
        ("prores", DecoderBackend.LIBAV, DecoderBackend.LIBAV),
    ],
)
def test_dali_decodes_every_stream_that_it_can(codec: str, on_gpu: DecoderBackend, on_cpu: DecoderBackend) -> None:
    stream = StreamFormat(codec, "yuv420p", 1920, 1080, ColourMatrix.BT709)

    assert choose_backend(stream, H100) is on_gpu
    assert choose_backend(stream, None) is on_cpu
    assert choose_backend(replace(stream, pixel_format="yuv422p10le"), H100) is on_cpu


@pytest.mark.parametrize(
    ("codec", "pixels", "size", "gpu", "backend"),
    [
        ("av1", "yuv420p", (1920, 1080), A100, DecoderBackend.LIBAV),
        ("av1", "yuv420p", (1920, 1080), (8, 6), DecoderBackend.DALI_GPU),
        ("h264", "yuv420p10le", (1920, 1080), A100, DecoderBackend.LIBAV),
        ("h264", "yuv420p", (5120, 2880), H100, DecoderBackend.LIBAV),
        ("hevc", "yuv420p", (5120, 2880), A100, DecoderBackend.DALI_GPU),
        ("hevc", "yuv420p", (160, 120), H100, DecoderBackend.LIBAV),
        ("h264", "yuv420p", (0, 0), H100, DecoderBackend.LIBAV),
    ],
)
def test_a_stream_outside_of_the_limits_of_a_gpu_is_never_decoded_on_it(
    codec: str, pixels: str, size: tuple[int, int], gpu: tuple[int, int], backend: DecoderBackend
) -> None:
    assert choose_backend(StreamFormat(codec, pixels, *size, ColourMatrix.BT709), gpu) is backend


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_must_decode_and_is_missing_is_named() -> None:
    assert dali.gpu_capability("auto") is dali.gpu_capability("cpu") is None
    with pytest.raises(RuntimeError, match="device is cuda"):
        dali.gpu_capability("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(
    "video",
    [H264, replace(H264, colorspace=1), replace(H264, codec="libx265"), VP9],
    ids=["h264", "bt709", "hevc", "vp9"],
)
def test_the_gpu_gives_the_same_images(video: Footage, tmp_path: Path) -> None:
    opened = OpenedVideo(footage.write(tmp_path / "video", replace(video, size=(320, 240))))
    on_gpu = RemuxingDecoder(opened.stream.remux, dali.file_decoder(opened.stream.format))

    for ours, theirs in zip(
        on_gpu.decode(opened.segments[0], [0, 4, 9]),
        opened.stream.decoder.decode(opened.segments[0], [0, 4, 9]),
        strict=True,
    ):
        assert footage.number_of(ours.image.to_rgb()) == footage.number_of(theirs.image.to_rgb())
        assert np.abs(ours.image.to_rgb().astype(int) - theirs.image.to_rgb()).mean() < 3.0


@pytest.mark.parametrize("video", [VP9, VP8, MJPEG], ids=["vp9", "vp8", "mjpeg"])
def test_frames_of_another_size_never_reach_dali(video: Footage, tmp_path: Path) -> None:
    """DALI would write them past its buffers. libav decodes any size."""
    small, large = (
        OpenedVideo(footage.write(tmp_path / "small", video)),
        OpenedVideo(footage.write(tmp_path / "large", replace(video, size=(320, 240)))),
    )
    packets = (*small.segments[0].packets, *large.segments[0].packets)
    mixed = Segment(packets, tuple(index / 10 for index in range(len(packets))))

    for stream, segment in ((small, large.segments[0]), (large, small.segments[0]), (small, mixed)):
        with pytest.raises(DecodeError, match="another format"):
            stream.dali.decode(segment, [0])

    (decoded,) = small.stream.decoder.decode(large.segments[0], [0])
    assert decoded.image.to_rgb().shape == (240, 320, 3)
