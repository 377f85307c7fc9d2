"""Frames, times, states, masks and losses of a camera are the same wherever its video is decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cameras import CameraState, PlaybackSpeed
from pipeline.decoding import dali
from pipeline.decoding.decoders import MAX_FAILURES
from pipeline.sources.clips import Clip
from pipeline.workers.segment_decoding import SegmentDecoding
from tests.pipeline import footage
from tests.pipeline.footage import H264, MJPEG, VP9, Footage
from tests.pipeline.playing import QUICK, START_S
from tests.pipeline.workers import pools
from tests.pipeline.workers.file_decoders import H100, BrokenFiles, CrashingFiles, LibavFiles
from tests.pipeline.workers.pools import Cameras
from tests.pipeline.workers.test_killed_workers import LIMITS, WAYS

FAST = PlaybackSpeed.FAST
TS = replace(H264, container="mpegts", frames=40)
H265 = Footage("libx265", "mp4", options={"preset": "ultrafast", "x265-params": "log-level=none"}, size=(320, 240))
MASK = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


def plain(video: Footage, path: Path) -> Path:
    return footage.write(path, video)


def damaged(path: Path) -> Path:
    """Key frames alone can be decoded whole."""
    footage.damage_all_but_key_frames(footage.write(path.with_suffix(".whole"), replace(H264, frames=60)), path, "mp4")
    return path


def resized(path: Path) -> Path:
    """Another size in the middle."""
    parts = TS, replace(TS, size=(320, 240))
    path.write_bytes(b"".join(footage.write(path.with_suffix(".part"), part).read_bytes() for part in parts))
    return path


RECORDINGS: dict[str, Callable[[Path], Path]] = {
    "h264": partial(plain, replace(H264, frames=60)),
    "h265": partial(plain, H265),
    "mjpeg": partial(plain, MJPEG),
    "variable": partial(plain, replace(H264, times=tuple(40 * n * n for n in range(30)), options={"preset": "fast"})),
    "bt709": partial(plain, replace(H264, colorspace=1)),
    "damaged": damaged,
    "resized": resized,
}


class Played:
    """What a camera gave until its recording was over."""

    def __init__(self, open_feed: Callable[..., object], path: Path, **options: object) -> None:
        cameras = Cameras(open_feed, max_clips=100)
        cameras.open("lobby", str(path), pace=FAST, started_s=START_S, **options)  # type: ignore[arg-type]
        cameras.wait_for_state("lobby", CameraState.ENDED)
        cameras.wait_until(lambda: True)
        self.states = cameras.states["lobby"]
        self.dropped = cameras.clips.dropped_frames("lobby")
        self.clips: list[Clip] = cameras.taken["lobby"]

    def require_same(self, other: Played, *, are_whole: bool = True) -> None:
        """are_whole: no image is damaged. What libav makes of one that is differs from time to time."""
        assert self.states == other.states
        assert self.dropped == other.dropped
        assert [clip.times_s for clip in self.clips] == [clip.times_s for clip in other.clips]
        assert [clip.lost_before for clip in self.clips] == [clip.lost_before for clip in other.clips]
        assert [clip.period_s for clip in self.clips] == [clip.period_s for clip in other.clips]
        for ours, theirs in zip(self.clips, other.clips, strict=True) if are_whole else ():
            assert np.array_equal(ours.frames, theirs.frames)
            assert all(map(np.array_equal, ours.previews, theirs.previews))


@pytest.mark.parametrize("masks", [(), (MASK,)], ids=["", "masked"])
@pytest.mark.parametrize("kind", RECORDINGS)
def test_a_recording_is_the_same_wherever_it_is_decoded(
    kind: str, masks: tuple[tuple[tuple[float, float], ...], ...], tmp_path: Path
) -> None:
    path, files = RECORDINGS[kind](tmp_path / "video"), LibavFiles()
    with pools.threads() as open_feed:
        in_thread = Played(open_feed, path, masks=masks)
    with pools.worker_feeds() as open_feed:
        in_worker = Played(open_feed, path, masks=masks)
    with pools.shard_feeds(files) as open_feed:
        in_shard = Played(open_feed, path, masks=masks)

    assert in_thread.clips
    in_worker.require_same(in_thread, are_whole=kind != "damaged")
    in_shard.require_same(in_thread, are_whole=kind != "damaged")
    assert bool(files.files) is (kind != "mjpeg")
    assert all(name.startswith("decode-") for name in files.threads)
    for clip in in_shard.clips if masks else ():
        assert not clip.frames[:, :30, :30].any()
        assert not any(preview[:50, :90].any() for preview in clip.previews)


@pytest.mark.parametrize("files", [BrokenFiles(), CrashingFiles()], ids=["fails", "crashes"])
def test_what_the_shard_cannot_decode_is_decoded_in_the_worker(files: LibavFiles, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=100))
    with pools.worker_feeds() as open_feed:
        in_worker = Played(open_feed, path)
    with pools.shard_feeds(files) as open_feed:
        in_shard = Played(open_feed, path)

    in_shard.require_same(in_worker)
    assert len(files.files) == MAX_FAILURES


def test_a_camera_whose_segments_fail_does_not_disturb_another(tmp_path: Path) -> None:
    path, files = footage.write(tmp_path / "video", replace(H264, frames=100)), LibavFiles()
    broken = footage.write(tmp_path / "broken", replace(H265, frames=100))

    def decoder(stream: object) -> LibavFiles:
        return CrashingFiles() if stream.codec == "hevc" else files(stream)  # type: ignore[attr-defined]

    prepared: list[str] = []
    decoding = SegmentDecoding(
        H100, decoder, num_threads=1, prepare_thread=lambda: prepared.append(threading.current_thread().name)
    )
    with pools.workers(decoding=decoding) as pool:
        cameras = Cameras(pool.open, max_clips=100)
        for name, video in (("broken", broken), ("well", path)):
            cameras.open(name, str(video), pace=FAST, started_s=START_S)
        for name in ("broken", "well"):
            cameras.wait_for_state(name, CameraState.ENDED)
            cameras.wait_until(lambda name=name: sum(len(clip.times_s) for clip in cameras.taken[name]) == 20)

    assert len(files.files) == 10
    assert files.threads == set(prepared) == {"decode-0"}
    assert [state for state, _, _ in cameras.states["well"]][-2:] == [CameraState.LIVE, CameraState.ENDED]


def test_a_recording_is_whole_although_its_workers_are_killed_in_the_middle_of_it(tmp_path: Path) -> None:
    """Whatever ends them, while the shard decodes for them; nothing is left of them."""
    path = footage.write(tmp_path / "video", replace(H264, frames=1_500))
    with (
        pools.leaving_nothing(),
        pools.workers(decoding=SegmentDecoding(H100, LibavFiles()), limits=LIMITS) as pool,
    ):
        cameras = Cameras(pool.open)

        def states() -> list[CameraState]:
            return [state for state, _, _ in cameras.states["lobby"]]

        cameras.open("lobby", str(path), pace=FAST, started_s=START_S)
        for kills, kill in enumerate(WAYS):
            cameras.wait_until(lambda kills=kills: states().count(CameraState.LIVE) > kills)
            kill(pool.pids()[0])
        cameras.wait_for_state("lobby", CameraState.ENDED)
        cameras.wait_until(lambda: sum(len(clip.times_s) for clip in cameras.taken["lobby"]) == 300)

    times_s = [time_s for clip in cameras.taken["lobby"] for time_s in clip.times_s]
    assert np.allclose(np.diff(times_s), 0.5)
    assert cameras.clips.dropped_frames("lobby") == 0
    assert states().count(CameraState.STALLED) == len(WAYS)


def test_dali_decodes_in_the_shard(tmp_path: Path) -> None:
    """On a CPU it knows VP9."""
    path = footage.write(tmp_path / "video", replace(VP9, frames=60))
    decoding = SegmentDecoding(H100, partial(dali.file_decoder, device="cpu"))
    with pools.workers(decoding=decoding) as pool:
        by_dali = Played(pool.open, path)
    with pools.worker_feeds() as open_feed:
        by_libav = Played(open_feed, path)

    assert [clip.times_s for clip in by_dali.clips] == [clip.times_s for clip in by_libav.clips]
    assert [footage.number_of(frame) for clip in by_dali.clips for frame in clip.frames] == list(range(0, 60, 5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("video", [H264, H265, VP9], ids=["h264", "h265", "vp9"])
def test_a_gpu_decodes_what_a_worker_hands_over(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(video, frames=60, size=(320, 240)))
    capability = dali.gpu_capability("cuda")
    assert capability is not None
    with pools.workers(
        decoding=SegmentDecoding(capability, dali.file_decoder, prepare_thread=dali.use_side_stream)
    ) as pool:
        on_gpu = Played(pool.open, path, masks=(MASK,), config=replace(QUICK, device="cuda"))
    with pools.worker_feeds() as open_feed:
        by_libav = Played(open_feed, path, masks=(MASK,))

    assert on_gpu.states == by_libav.states
    for ours, theirs in zip(on_gpu.clips, by_libav.clips, strict=True):
        assert ours.times_s == theirs.times_s
        assert np.abs(ours.frames.astype(int) - theirs.frames).mean() < 3.0
        assert not ours.frames[:, :30, :30].any()
