"""The comparison of decoders finds decoders that are wrong on purpose, and accepts one that only rounds otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from actors.gpu_doctor import decoding, examination
from actors.gpu_doctor.decoding import SAMPLES, worst_difference
from actors.gpu_doctor.parts import CannotRun, PartState, Unfit
from benchmarks.decoding_samples import IMAGES, draw
from pipeline.decoding.colourspace import ColourMatrix
from pipeline.decoding.decoders import DecodedFrame, Decoder
from pipeline.decoding.images import ArrayImage, Pixels
from pipeline.decoding.segments import Segment
from pipeline.decoding.tensor_images import from_bt601
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig

MAX_SAMPLES_NBYTES = 300_000
Change = Callable[[list[DecodedFrame]], list[DecodedFrame]]


class WrongDecoder:
    """A decoder whose images are changed on purpose."""

    def __init__(self, right: Decoder, change: Change) -> None:
        self._right, self._change = right, change

    def decode(self, segment: Segment, indices: Sequence[int]) -> list[DecodedFrame]:
        return self._change(list(self._right.decode(segment, indices)))


def each(function: Callable[[Pixels], Pixels]) -> Change:
    """Changes the pixels of every image."""
    return lambda frames: [DecodedFrame(one.index, ArrayImage(function(one.image.to_rgb()))) for one in frames]


def one_late(frames: list[DecodedFrame]) -> list[DecodedFrame]:
    """Each image is the one after, as a decoder gives that counts wrongly."""
    return [DecodedFrame(one.index, other.image) for one, other in zip(frames, [*frames[1:], frames[-1]], strict=True)]


def damaged_band(pixels: Pixels) -> Pixels:
    """A twentieth of the image is grey, as after a lost slice: little in the mean."""
    changed = pixels.copy()
    changed[: len(pixels) // 20] = 128
    return changed


WRONG: dict[str, Change] = {
    "the next image": one_late,
    "another colour matrix": each(lambda pixels: from_bt601(torch.from_numpy(pixels), ColourMatrix.BT709).numpy()),
    "red and blue swapped": each(lambda pixels: pixels[..., ::-1]),
    "a lost slice": each(damaged_band),
    "an image less": lambda frames: frames[:-1],
    "half the size": each(lambda pixels: pixels[::2, ::2]),
}


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> Iterator[tuple[Demuxer, list[Segment]]]:
    stream = Demuxer(FileUrl(SAMPLES[request.param]), IngestConfig())
    yield stream, decoding._segments(stream)
    stream.close()


def test_the_samples_are_small() -> None:
    assert set(SAMPLES) == {"h264", "hevc", "vp9"}
    assert sum(path.stat().st_size for path in SAMPLES.values()) < MAX_SAMPLES_NBYTES


@pytest.mark.parametrize("sample", ["h264", "hevc", "vp9"], indirect=True)
def test_a_sample_shows_the_images_that_were_drawn(sample: tuple[Demuxer, list[Segment]]) -> None:
    stream, segments = sample
    images = [one.image.to_rgb() for s in segments for one in stream.decoder.decode(s, range(len(s.times_s)))]

    assert len(images) == IMAGES
    for number, image in enumerate(images):
        assert np.abs(image.astype(int) - draw(number)).mean() < decoding.MAX_MEAN_LEVELS


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("sample", ["vp9"], indirect=True)
def test_a_wrong_decoder_is_found(change: Change, sample: tuple[Demuxer, list[Segment]]) -> None:
    stream, segments = sample

    with pytest.raises(Unfit):
        worst_difference(WrongDecoder(stream.decoder, change), stream.decoder, segments[:1]).require_small()


@pytest.mark.parametrize("sample", ["vp9"], indirect=True)
def test_a_decoder_that_rounds_otherwise_is_accepted(sample: tuple[Demuxer, list[Segment]]) -> None:
    stream, segments = sample
    rounded = WrongDecoder(stream.decoder, each(lambda pixels: (pixels // 2) * 2))

    difference = worst_difference(rounded, stream.decoder, segments[:1])
    difference.require_small()

    assert 0 < difference.mean_levels < 1


def test_dali_decodes_vp9_on_the_cpu_as_libav_does() -> None:
    proof = decoding.check(SAMPLES["vp9"], "cpu", rounds=1, min_fps=0)

    assert f"{IMAGES} images of 1920x1080" in proof.detail
    assert proof.figures["mean_levels"] < 1
    assert proof.figures["frames_per_s"] > 0


def test_a_rate_below_that_of_one_camera_is_unfit() -> None:
    with pytest.raises(Unfit, match=r"frames/s of 1920x1080 \(at least 1e\+09\)"):
        decoding.check(SAMPLES["vp9"], "cpu", rounds=1, min_fps=1e9)


def test_a_codec_that_the_device_does_not_decode_is_a_failure_with_a_hint() -> None:
    """DALI decodes no H.264 on a CPU, as it decodes none on a GPU whose driver has no video part."""
    with pytest.raises(Unfit, match="NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"):
        decoding.check(SAMPLES["h264"], "cpu", rounds=1)


def test_without_dali_the_part_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.decoding.dali", None)

    with pytest.raises(CannotRun, match="pip install nvidia-dali-cuda120"):
        decoding.check(SAMPLES["vp9"], "cpu")

    (part,) = examination.examine({"decode vp9": examination.checks("cpu")["decode vp9"]})
    assert part.state is PartState.NOT_RUN
