"""What a camera costs that an ingest worker reads. Part of benchmarks.ingest."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from pathlib import Path

from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec, CameraState, PlaybackSpeed
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.ingest_config import IngestConfig
from pipeline.workers.pool import WorkerPool

_FIT = FrameFit(cell=64, max_cells=1, side=64)  # of the tiny model
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def plays_ms(path: Path) -> Generator[float]:
    """Milliseconds of processor time of this process and its worker while the video is played, again and again.

    The worker has started, and has played it once, before the first of them.
    """
    pool = WorkerPool(_FIT, 1, (path.parent,))
    try:
        _play(pool, path, 0)  # its feed stays open, and so its worker
        number = 0
        while True:
            number, began_s = number + 1, spent_s()
            _play(pool, path, number)
            yield 1e3 * (spent_s() - began_s)
    finally:
        pool.close()


def _play(pool: WorkerPool, path: Path, number: int) -> None:
    is_over, has_clip = threading.Event(), threading.Event()
    clips = ClipQueue(4, on_put=has_clip.set)

    def on_state(state: CameraState, detail: str, _reason: object, _note: object) -> None:
        assert state is not CameraState.FAILED, detail
        if state is CameraState.ENDED:
            is_over.set()
            has_clip.set()

    feed = pool.open(
        CameraSpec(name=f"camera-{number}", url=str(path), pace=PlaybackSpeed.FAST),
        IngestConfig(sample_fps=1.0, device="cpu", video_folders=(path.parent,)),
        clips=clips,
        on_state=on_state,
        camera_id=f"camera-{number}",
        resume_from_s=None,
        started_s=0.0,
    )
    feed.start()
    while not is_over.is_set():
        has_clip.wait()
        has_clip.clear()
        while clips.take() is not None:
            pass


def spent_s() -> float:
    """Processor time of this process and of the workers that run."""
    ticks = 0
    for pid in _children():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return sum(os.times()[:2]) + ticks / _TICKS_PER_S


def _children() -> list[str]:
    return [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
