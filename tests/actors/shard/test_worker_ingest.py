"""A shard whose cameras are read by worker processes."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pipeline.decoding import dali
from tests.actors.shard import shards
from tests.actors.shard.shards import FRAMES_SAMPLED, Running, live
from tests.actors.waiting import until
from tests.pipeline import footage
from tests.pipeline.footage import H264
from tests.pipeline.workers import pools
from tests.pipeline.workers.file_decoders import H100, LibavFiles


async def test_a_film_that_a_worker_reads_is_remembered_whole_and_the_worker_ends(running: Running, film: str) -> None:
    before = pools.children()
    async with running(workers=1) as shard:
        await shards.watch_whole(shard, "film", film)
        assert len(pools.children() - before) == 1

    assert pools.children() <= before


async def test_a_film_that_a_gpu_decodes_in_the_shard_is_remembered_whole(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, files = footage.write(tmp_path / "film", replace(H264, fps=2, frames=FRAMES_SAMPLED)), LibavFiles()
    monkeypatch.setattr(dali, "gpu_capability", lambda _device: H100)
    monkeypatch.setattr(dali, "file_decoder", files)
    monkeypatch.setattr(dali, "use_side_stream", lambda: None)
    async with running(workers=1) as shard:
        await shards.watch_whole(shard, "film", str(path))

    assert len(files.files) > 1
    assert not [thread for thread in threading.enumerate() if thread.name in files.threads]


async def test_answers_go_on_while_the_workers_of_a_shard_are_killed(running: Running) -> None:
    before = pools.children()
    async with running(workers=1) as shard:
        await shard.add_camera(live())
        for kills in range(3):
            await until(partial(shards.has_frames, shard, "street", 4 * kills + 4))
            for worker in pools.children() - before:
                os.kill(worker, signal.SIGKILL)
            assert [event async for event in shard.ask("street", "what is in view")]
        await until(partial(shards.has_frames, shard, "street", 16))

    assert pools.children() <= before
