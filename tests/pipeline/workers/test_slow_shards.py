"""Live cameras whose shard decodes too slowly: their rates fall evenly, and nothing is lost after that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from pipeline.cameras import CameraState
from pipeline.decoding.decoders import DecodedFrame
from pipeline.workers.segment_decoding import SegmentDecoding
from tests.pipeline import rtsp_camera
from tests.pipeline.playing import QUICK
from tests.pipeline.rtsp_camera import RtspCamera
from tests.pipeline.workers import pools
from tests.pipeline.workers.file_decoders import H100, LibavFiles
from tests.pipeline.workers.pools import Cameras

CONFIG = replace(QUICK, sample_fps=2, frames_per_clip=1, max_lag_s=2.0, stall_after_s=10.0)
NAMES = ("lobby", "yard")
EVEN_FRAMES = 6


class SlowFiles(LibavFiles):
    """Takes a third of a second for each image, as a GPU with other work does: less than both cameras want."""

    def decode(self, file: bytes | bytearray, indices: Sequence[int]) -> Iterator[DecodedFrame]:
        time.sleep(0.32 * len(indices))
        yield from super().decode(file, indices)


def test_a_shard_that_decodes_too_slowly_has_all_of_its_live_cameras_sampled_less_often() -> None:
    files = SlowFiles()
    dropped: dict[str, list[int]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        pool = stack.enter_context(pools.workers(decoding=SegmentDecoding(H100, files, num_threads=1)))
        cameras = Cameras(pool.open)
        for name in NAMES:
            cameras.open(name, stack.enter_context(rtsp_camera.running(RtspCamera(fps=20))), config=CONFIG)

        def is_even(name: str) -> bool:
            """Whether its newest frames are at half its rate, and none between them was lost."""
            newest = cameras.taken[name][-EVEN_FRAMES:]
            steps_s = np.diff([clip.times_s[0] for clip in newest])
            is_half = len(newest) == EVEN_FRAMES and {clip.period_s for clip in newest} == {1.0}
            return is_half and bool(np.allclose(steps_s, 1.0, atol=0.2)) and len(set(dropped[name][-EVEN_FRAMES:])) == 1

        def are_even() -> bool:
            for name in NAMES:
                new = len(cameras.taken[name]) - len(dropped[name])
                dropped[name] += [cameras.clips.dropped_frames(name)] * new
            return all(map(is_even, NAMES))

        cameras.wait_until(are_even, timeout_s=200)

    for name in NAMES:
        details = [detail for state, detail, _ in cameras.states[name] if state is CameraState.LIVE]
        assert "sampled at 1 frames/s of 2: the machine does not keep up" in details
        assert {state for state, *_ in cameras.states[name]} == {CameraState.CONNECTING, CameraState.LIVE}
    assert files.threads == {"decode-0"}
