"""What a second of video costs to decode, by DALI and by libav: python -m benchmarks.decoding --help.

Measures CPU time of this process. Of each second two frames are decoded, as for a camera at two sampled frames per
second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks import result_file
from models.tiny.scenes.scene import Scene
from pipeline.decoding import dali
from pipeline.decoding.decoders import DecoderBackend, RemuxingDecoder, choose_backend
from pipeline.decoding.segments import GopSplitter, Segment
from pipeline.decoding.video_writer import write_video
from pipeline.network.urls import FileUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig

CODECS: tuple[Literal["h264", "vp9", "mjpeg"], ...] = ("h264", "vp9", "mjpeg")
SIZES = ((640, 360), (1920, 1080))


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds of CPU time for one second of video; None if DALI does not decode the codec."""

    codec: str
    size: str
    remux_ms: float | None
    libav_ms: float
    dali_ms: float | None


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--fps", type=int, default=10)
    result_file.add_option(parser)
    options = parser.parse_args()
    rows = []
    print("| codec | size | remux ms | libav ms | DALI (CPU) ms |\n|---|---|---|---|---|")
    for row in measure(options.seconds, options.fps):
        rows.append(row)
        cells = (row.codec, row.size, *(_shown(ms) for ms in (row.remux_ms, row.libav_ms, row.dali_ms)))
        print(f"| {' | '.join(cells)} |")
    result_file.write(options.json, {}, rows=rows)


def measure(seconds: int, fps: int) -> Iterator[Row]:
    """A row for each codec and size."""
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            scene = Scene(7)
            frames = [scene.frame(index / fps, width, height) for index in range(seconds * fps)]
            for codec in CODECS:
                path = Path(folder) / f"{codec}-{width}"
                write_video(frames, path, fps=fps, codec=codec)
                yield _row(path, seconds, f"{width}x{height}")


def _row(path: Path, seconds: int, size: str) -> Row:
    stream = Demuxer(FileUrl(path), IngestConfig())
    splitter = GopSplitter(30, 30, 1 << 30, is_intra=stream.is_intra)
    segments = [segment for segment in [*map(splitter.add, stream.packets()), splitter.flush()] if segment is not None]
    # Of a stream of key frames only the sampled ones become segments.
    segments = segments[:: len(segments) // (2 * seconds)] if stream.is_intra else segments
    indices = [0] if stream.is_intra else [0, len(segments[0].times_s) // 2]
    libav_ms = _spent_ms(segments, lambda segment: list(stream.decoder.decode(segment, indices))) / seconds
    remux_ms = dali_ms = None
    if choose_backend(stream.format, None) is DecoderBackend.DALI_CPU:
        decoder = RemuxingDecoder(stream.remux, dali.file_decoder(stream.format, "cpu"))
        remux_ms = _spent_ms(segments, stream.remux) / seconds
        dali_ms = _spent_ms(segments, lambda segment: list(decoder.decode(segment, indices))) / seconds
    stream.close()
    return Row(stream.codec, size, remux_ms, libav_ms, dali_ms)


def _spent_ms(segments: list[Segment], work: Callable[[Segment], object]) -> float:
    work(segments[0])
    began_s = time.process_time()
    for segment in segments:
        work(segment)
    return (time.process_time() - began_s) * 1e3


def _shown(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.1f}"


if __name__ == "__main__":
    main()
