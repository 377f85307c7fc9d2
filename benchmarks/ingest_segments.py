"""What passes between a worker and its shard where a GPU decodes, for a 1080p camera at one frame a second.

In place of the GPU stands a decoder that gives grey images: only bytes and the worker's processor time are measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import result_file
from benchmarks.ingest import BITS_PER_S, FPS, HEIGHT, WIDTH
from models.frame_fit import FrameFit
from models.tiny.scenes.scene import Scene
from pipeline.cameras import CameraSpec, CameraState
from pipeline.decoding.decoders import DecodedFrame, StreamFormat
from pipeline.decoding.images import ArrayImage
from pipeline.decoding.video_writer import write_video
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.pool import WorkerPool
from pipeline.workers.segment_decoding import SegmentDecoding

_FIT = FrameFit(cell=384, max_cells=1, side=384)  # as LLaVA-OneVision reads a frame
_H100 = (9, 0)
_IN_SHARD = "the shard"
_START_S = 2.0  # until the worker has started
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes and milliseconds for a second of a camera."""

    way: str
    gop_s: float
    segment_nbytes: float
    image_nbytes: float
    worker_ms: float


class GreyImages:
    """A FileDecoder that counts what it is given."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._image = ArrayImage(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))

    def __call__(self, stream: StreamFormat) -> GreyImages:
        return self

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        self.nbytes += len(file)
        yield from (DecodedFrame(index, self._image) for index in indices)


def main() -> None:
    """Prints the table of both ways, for key frames each second and every other second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest_segments", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="seconds of video, played at its own pace")
    result_file.add_option(parser)
    options = parser.parse_args()
    rows = list(measure(options.seconds))
    print("| decoded in | key frame every | segments, bytes/s | images and clips, bytes/s | worker, ms/s |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        sizes = f"{row.segment_nbytes:,.0f} | {row.image_nbytes:,.0f}"
        print(f"| {row.way} | {row.gop_s:g} s | {sizes} | {row.worker_ms:.1f} |")
    shard = next(row for row in rows if row.way == _IN_SHARD)
    result_file.write(options.json, {"segment_nbytes_per_s": round(shard.segment_nbytes)}, rows=rows)


def measure(seconds: int) -> Iterator[Row]:
    """Films a street, then plays it live in each way."""
    with tempfile.TemporaryDirectory() as folder:
        for gop_s in (1.0, 2.0):
            path, scene = Path(folder) / f"camera-{gop_s:g}.mp4", Scene(7)
            images = (scene.frame(index / FPS, WIDTH, HEIGHT) for index in range(seconds * FPS))
            write_video(images, path, fps=FPS, codec="h264", gop_s=gop_s, bits_per_s=BITS_PER_S)
            for decoder in (None, GreyImages()):
                yield _row(path, gop_s, decoder, seconds)


def _row(path: Path, gop_s: float, decoder: GreyImages | None, seconds: int) -> Row:
    decoding = SegmentDecoding(_H100, decoder) if decoder else None
    pool = WorkerPool(_FIT, 1, (path.parent,), decoding=decoding)
    try:
        clips, worker_s = _play(pool, path)
    finally:
        pool.close()
    # Images that the shard decoded pass to the worker, and in a clip back.
    passes = 2 if decoder else 1
    segment_nbytes = decoder.nbytes if decoder else 0
    way = _IN_SHARD if decoder else "the worker"
    return Row(way, gop_s, segment_nbytes / seconds, passes * clips / seconds, 1e3 * worker_s / seconds)


def _play(pool: WorkerPool, path: Path) -> tuple[int, float]:
    """Bytes of the clips, and seconds of processor time of the worker but for its start."""
    is_live, is_over = threading.Event(), threading.Event()
    clips = ClipQueue(1_000)

    def on_state(state: CameraState, detail: str, _reason: object, _note: object) -> None:
        assert state is not CameraState.FAILED, detail
        is_live.set()
        if state is CameraState.ENDED:
            is_over.set()

    spec = CameraSpec(name="camera", url=str(path))
    config = IngestConfig(sample_fps=1.0, video_folders=(path.parent,))
    feed = pool.open(
        spec,
        config,
        clips=clips,
        on_state=on_state,
        camera_id="camera",
        resume_from_s=None,
        started_s=time.time() + _START_S,
    )
    feed.start()
    is_live.wait()
    (pid,) = pool.pids()
    began_s = _spent_s(pid)
    is_over.wait()
    worker_s = _spent_s(pid) - began_s
    nbytes = 0
    while (clip := clips.take()) is not None:
        nbytes += clip.frames.nbytes + sum(preview.nbytes for preview in clip.previews)
    return nbytes, worker_s


def _spent_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


if __name__ == "__main__":
    main()
