"""Decodes the samples that ship with DALI and with libav, compares the images pixel by pixel, and times DALI."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.gpu_doctor.parts import CannotRun, Proof, Unfit
from pipeline.decoding.decoders import DecodedFrame, DecodeError, Decoder, RemuxingDecoder
from pipeline.decoding.segments import GopSplitter, Segment
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig

SAMPLES = {path.stem: path for path in sorted((Path(__file__).parent / "samples").iterdir())}
# Two decoders convert colours and scale chroma differently: single values at edges differ much, whole images little.
MAX_MEAN_LEVELS = 3.0  # of 255, of the worst image
FAR_LEVELS, MAX_FAR_SHARE = 24, 0.03  # of the values of the worst image
MIN_FPS = 25.0  # of one camera at full rate
_LONG_S, _LARGE_NBYTES = 60.0, 1 << 26
_NO_DALI = "DALI cannot be imported ({}): pip install nvidia-dali-cuda120"
_HINT = "in a container: NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the images of two decoders are apart, each the worst of all images. mean_levels: of 255."""

    images: int
    mean_levels: float
    far_share: float

    def require_small(self) -> None:
        """Raises Unfit if the images are not the same but for rounding and chroma."""
        figures = {"mean_levels": round(self.mean_levels, 3), "far_share": round(self.far_share, 4)}
        if self.mean_levels > MAX_MEAN_LEVELS:
            raise Unfit(f"an image is off by {self.mean_levels:.1f} levels (limit {MAX_MEAN_LEVELS:g})", figures)
        if self.far_share > MAX_FAR_SHARE:
            raise Unfit(
                f"{self.far_share:.1%} of an image's values are off by more than {FAR_LEVELS} levels "
                f"(limit {MAX_FAR_SHARE:.0%})",
                figures,
            )


def check(sample: Path, device: str, *, rounds: int = 10, min_fps: float = MIN_FPS) -> Proof:
    """Every image of the sample by DALI on this device ("mixed": the GPU) against libav's. Raises Unfit, CannotRun.

    rounds: how often the sample is decoded for the rate.
    """
    try:
        dali = importlib.import_module("pipeline.decoding.dali")
    except ImportError as error:
        raise CannotRun(_NO_DALI.format(error)) from error
    stream = Demuxer(FileUrl(sample), IngestConfig())
    try:
        segments = _segments(stream)
        decoder = RemuxingDecoder(stream.remux, dali.file_decoder(stream.format, device))
        difference = worst_difference(decoder, stream.decoder, segments)
        difference.require_small()
        fps = _rate(decoder, segments, rounds)
    except DecodeError as error:
        raise Unfit(f"{error} ({_HINT})") from error
    finally:
        stream.close()
    figures = {"mean_levels": round(difference.mean_levels, 3), "far_share": round(difference.far_share, 4)}
    figures["frames_per_s"] = round(fps, 1)
    if fps < min_fps:
        raise Unfit(f"{fps:.0f} frames/s of {stream.width}x{stream.height} (at least {min_fps:g})", figures)
    return Proof(
        f"{difference.images} images of {stream.width}x{stream.height}, off by {difference.mean_levels:.2f} levels at "
        f"most (limit {MAX_MEAN_LEVELS:g}), {fps:.0f} frames/s",
        figures,
    )


def worst_difference(first: Decoder, second: Decoder, segments: Iterable[Segment]) -> Difference:
    """Compares every image of the segments. Raises Unfit where images are missing or of another size, DecodeError."""
    images, mean, far = 0, 0.0, 0.0
    for segment in segments:
        indices = range(len(segment.times_s))
        ours, theirs = list(first.decode(segment, indices)), list(second.decode(segment, indices))
        numbers = [one.index for one in ours], [one.index for one in theirs]
        if numbers != (list(indices), list(indices)):
            raise Unfit(f"{len(ours)} images, and {len(theirs)} by libav (expected {len(indices)} of each)")
        for mine, other in zip(ours, theirs, strict=True):
            image_mean, image_far = _difference(mine, other)
            images, mean, far = images + 1, max(mean, image_mean), max(far, image_far)
    return Difference(images, mean, far)


def _difference(mine: DecodedFrame, other: DecodedFrame) -> tuple[float, float]:
    """Mean difference of an image in levels, and the share of its values that are far off."""
    ours, theirs = mine.image.to_rgb().astype(np.int16), other.image.to_rgb().astype(np.int16)
    if ours.shape != theirs.shape:
        raise Unfit(f"images of {tuple(ours.shape)} (expected {tuple(theirs.shape)})")
    levels = np.abs(ours - theirs)
    return float(levels.mean()), float((levels > FAR_LEVELS).mean())


def _segments(stream: Demuxer) -> list[Segment]:
    splitter = GopSplitter(_LONG_S, _LONG_S, _LARGE_NBYTES, is_intra=stream.is_intra)
    segments = [splitter.add(packet) for packet in stream.packets()] + [splitter.flush()]
    return [segment for segment in segments if segment is not None]


def _rate(decoder: Decoder, segments: list[Segment], rounds: int) -> float:
    """Frames a second of one stream, all frames, images on the device."""
    began_s, images = time.perf_counter(), 0
    for _ in range(rounds):
        for segment in segments:
            decoded = list(decoder.decode(segment, range(len(segment.times_s))))
            decoded[-1].image.resize(1, 1)  # waits until the device is done
            images += len(decoded)
    return images / (time.perf_counter() - began_s)
