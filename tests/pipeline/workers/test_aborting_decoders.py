"""A camera whose pictures end libav itself, each time: it is found, it waits, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import SourceReason
from tests.pipeline import field_cameras, footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.servers import Reply
from tests.pipeline.workers import pools
from tests.pipeline.workers.pools import Cameras

WIDTH = 208  # of the pictures that libav does not survive
# Python loads a module of this name at the start of each process; workers look for modules where their shard does.
_FAULTY_LIBAV = """
import ctypes
from pipeline.decoding import libav

plain = libav._decode

def faulty(context, packet):
    if context.width == {width}:
        {fault}
    return plain(context, packet)

libav._decode = faulty
"""
FAULTS = {"SIGABRT": "ctypes.CDLL(None).abort()", "SIGSEGV": "ctypes.string_at(8)"}
OTHERS = ("street", "rtsp", "hls")


@pytest.fixture(params=FAULTS)
def signal_name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """How each process ends that decodes a picture of that width, once it is started."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(_FAULTY_LIBAV.format(width=WIDTH, fault=FAULTS[request.param]))
    monkeypatch.syspath_prepend(modules)
    return str(request.param)


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[dict[str, str]]:
    path = footage.write(tmp_path / "guilty", replace(H264, container="mpegts", size=(WIDTH, 112)))
    with ExitStack() as stack:
        guilty = stack.enter_context(servers.scripted_server({"/live": Reply(pieces=(path.read_bytes(),))}))
        found = stack.enter_context(field_cameras.running(tmp_path))
        yield {"guilty": f"{guilty.url}/live", "street": "sim:street", "rtsp": found["rtsp"], "hls": found["hls"]}


def test_the_camera_that_ends_each_decoder_is_found_and_no_other_one_is_disturbed_after_that(
    signal_name: str, urls: dict[str, str]
) -> None:
    with pools.leaving_nothing(), pools.workers(1) as pool:
        cameras = Cameras(pool.open)

        def crashes() -> list[str]:
            found = cameras.states["guilty"]
            return [detail for _, detail, reason in found if reason is SourceReason.DECODER_CRASHED]

        def interruptions() -> dict[str, list[str]]:
            details = {name: [detail for _, detail, _ in cameras.states[name]] for name in OTHERS}
            return {name: [text for text in told if "worker ended" in text] for name, told in details.items()}

        for name in OTHERS:
            cameras.open(name, urls[name])
        cameras.wait_for_next_clips(*OTHERS)
        cameras.open("guilty", urls["guilty"])
        cameras.wait_until(lambda: len(crashes()) == 1)
        cameras.wait_for_next_clips(*OTHERS)
        found = interruptions()
        cameras.wait_until(lambda: len(crashes()) == 2)
        cameras.wait_for_next_clips(*OTHERS)

        ended = f"its ingest worker ended (signal {signal_name}) and is started again"
        assert found == interruptions() == {name: [ended] for name in OTHERS}
        assert [detail.partition("; try again at ")[0] for detail in crashes()] == [
            f"it ended its ingest worker once (signal {signal_name})",
            f"it ended its ingest worker 2 times (signal {signal_name})",
        ]
        assert not cameras.taken["guilty"]
