"""A URL is tested in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import InvalidCamera, SourceReason
from pipeline.sources import probe
from pipeline.workers import isolated_probe
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK
from tests.pipeline.servers import Reply
from tests.pipeline.workers import pools


def test_it_finds_what_a_test_in_this_process_finds(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video.mp4", H264)
    with servers.scripted_server({"/401": Reply(401)}) as camera:
        for url in (str(path), f"{camera.url}/401", str(tmp_path / "none.mp4"), "sim:gate", "/etc/passwd"):
            here, there = probe.probe_url(url, QUICK), isolated_probe.probe_url(url, QUICK)

            assert replace(there, video=None) == replace(here, video=None)
            assert (there.video is None) == (here.video is None)
            if there.video is not None and here.video is not None:
                assert replace(there.video, first_frame_ms=0) == replace(here.video, first_frame_ms=0)


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGKILL])
def test_a_url_that_ends_the_process_which_tests_it_says_so_and_leaves_nothing(sent: signal.Signals) -> None:
    before = pools.children()
    with (
        pools.leaving_nothing(),
        socket.create_server(("127.0.0.1", 0)) as camera,
        ThreadPoolExecutor(1) as pool,
    ):
        url = f"http://viewer:c4n4ry@127.0.0.1:{camera.getsockname()[1]}/live"
        test = pool.submit(isolated_probe.probe_url, url, replace(QUICK, open_timeout_s=60.0))
        with camera.accept()[0]:
            (pid,) = pools.children() - before
            os.kill(pid, sent)
            found = test.result(60)

    assert found.reason is SourceReason.DECODER_CRASHED
    assert found.detail.endswith(f": it ended or held up the process that tested it (signal {sent.name})")
    assert "c4n4ry" not in repr(found)


def test_a_url_that_holds_up_the_process_which_tests_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "max_duration_s", lambda _: 0.0)
    before = pools.children()
    with socket.create_server(("127.0.0.1", 0)) as camera, ThreadPoolExecutor(1) as pool:
        camera.settimeout(60)
        test = pool.submit(isolated_probe.probe_url, f"http://127.0.0.1:{camera.getsockname()[1]}/live", QUICK)
        with camera.accept()[0]:
            (pid,) = pools.children() - before
            os.kill(pid, signal.SIGSTOP)
            found = test.result(60)

    assert found.reason is SourceReason.DECODER_CRASHED
    assert found.detail.endswith(": it ended or held up the process that tested it (no answer for 5 s)")
    assert pools.children() <= before


def test_a_process_that_does_not_start_blames_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time until it has started is none of the test's."""
    monkeypatch.setattr(isolated_probe, "START_S", 0.0)

    found = isolated_probe.probe_url("rtsp://127.0.0.1/live", QUICK)

    assert found.reason is SourceReason.UNKNOWN
    assert found.detail.endswith(": the process for its test does not start (no answer for 0 s)")


def test_an_invalid_url_is_refused_without_a_process() -> None:
    with pytest.raises(InvalidCamera, match="gopher"):
        isolated_probe.probe_url("gopher://old", QUICK)
