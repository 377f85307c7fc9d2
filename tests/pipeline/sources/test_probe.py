"""Probing a URL describes its video, or says why it gives none."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.cameras import InvalidCamera, SourceReason
from pipeline.network import urls
from pipeline.sources import opening, probe
from pipeline.sources.probe import probe_url
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, MPEG4, VP9, WITHOUT_PARSER, Footage
from tests.pipeline.playing import QUICK
from tests.pipeline.servers import TEST_PICTURE, Reply, needs_rtsp

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "its video cannot be read: Too many open files"),
        (MemoryError(), "no memory for its video"),
    ],
)
def test_what_this_process_lacks_is_said_and_blames_no_camera(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, detail: str
) -> None:
    """In a worker the fault would end it, and the camera would be reported as one that crashes its decoder."""

    def open_stream(*_: object, **__: object) -> NoReturn:
        raise fault

    monkeypatch.setattr(opening, "open_stream", open_stream)

    found = probe_url("rtsp://127.0.0.1/live", QUICK)

    assert (found.reason, found.detail, found.video) == (SourceReason.UNKNOWN, detail, None)


def test_a_good_file_is_described(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video.mp4", replace(H264, frames=50))

    found = probe_url(str(path), QUICK)

    assert found.reason is None
    assert found.video is not None
    assert (found.video.codec, found.video.width, found.video.height) == ("h264", *H264.size)
    assert found.video.declared_fps == pytest.approx(10)
    assert found.video.measured_fps == pytest.approx(10, rel=0.05)
    assert found.video.first_frame_ms > 0


def test_a_link_that_leads_to_itself_is_no_file(tmp_path: Path) -> None:
    """It was an error that nobody foresaw: of a camera, and of the fleet that compares the sources of cameras."""
    link = tmp_path / "loop.mp4"
    link.symlink_to(link)

    found = probe_url(str(link), QUICK)

    assert (found.reason, "Too many levels of symbolic links" in found.detail) == (SourceReason.NO_FILE, True)
    assert urls.source_of(str(link)) == f"file:{link}"


@pytest.mark.parametrize(("sample_fps", "is_enough"), [(2, False), (1, True), (0.5, True)])
def test_key_frames_are_enough_if_they_come_as_often_as_frames_are_sampled(
    sample_fps: float, is_enough: bool, tmp_path: Path
) -> None:
    path = footage.write(tmp_path / "video.mp4", replace(H264, frames=50))

    video = probe_url(str(path), replace(QUICK, sample_fps=sample_fps)).video

    assert video is not None
    assert video.key_frame_interval_s == pytest.approx(1, rel=0.05)
    assert video.has_key_frames_enough is is_enough


@pytest.mark.parametrize(
    "video",
    [replace(H264, muxing={"movflags": "faststart"}), replace(H264, container="avi"), VP9, WITHOUT_PARSER, MPEG4],
    ids=["h264", "h264-avi", "vp9", "msmpeg4", "mpeg4"],
)
def test_a_file_has_the_same_key_frames_by_its_path_and_over_http(video: Footage, tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(video, frames=50))

    found = [probe_url(str(path), QUICK)]
    for has_ranges in (False, True):
        with servers.file_server(tmp_path, has_ranges=has_ranges) as url:
            found.append(probe_url(f"{url}/video", QUICK))

    assert [one.video and one.video.key_frame_interval_s for one in found] == pytest.approx([1, 1, 1])


@pytest.mark.rtsp
@needs_rtsp
@pytest.mark.parametrize(
    ("transport", "note"),
    [("any", ""), ("UDP", "it sends over UDP: lost packets leave gaps in its frames")],
)
def test_a_live_camera_is_described_within_seconds(transport: str, note: str) -> None:
    with servers.rtsp_server(TEST_PICTURE, transport=transport) as (port, _):
        began_s = time.monotonic()
        found = probe_url(f"rtsp://127.0.0.1:{port}/live", replace(QUICK, open_timeout_s=10))

    assert (found.reason, found.detail) == (None, note)
    assert found.video is not None
    assert (found.video.codec, found.video.width, found.video.height) == ("vp8", 160, 120)
    assert found.video.measured_fps == pytest.approx(30, rel=0.2)
    assert time.monotonic() - began_s < 10


@pytest.mark.rtsp
@needs_rtsp
def test_an_rtsp_cameras_refusals_have_different_reasons() -> None:
    with servers.rtsp_server(TEST_PICTURE, "viewer", CANARY) as (port, _):
        wrong = probe_url(f"rtsp://viewer:{CANARY}wrong@127.0.0.1:{port}/live", QUICK)
        absent = probe_url(f"rtsp://viewer:{CANARY}@127.0.0.1:{port}/none", QUICK)

    assert (wrong.reason, absent.reason) == (SourceReason.UNAUTHORIZED, SourceReason.NOT_FOUND)
    assert CANARY not in repr([wrong, absent])


def test_every_failure_has_its_reason(tmp_path: Path) -> None:
    footage.write_audio(tmp_path / "sound.mp4")
    footage.write(tmp_path / "wide.mp4", replace(VP9, size=(640, 64)))
    replies = {
        "/401": Reply(401),
        "/403": Reply(403),
        "/moved": Reply(301, (("Location", "http://169.254.169.254/"),)),
        "/page": Reply(pieces=(b"<html>" * 1000,)),
    }
    with servers.scripted_server(replies) as camera, servers.silent_server() as silent:
        expected = {
            "http://no-such-camera.invalid/": SourceReason.NO_ADDRESS,
            "http://169.254.169.254/latest": SourceReason.ADDRESS_REFUSED,
            "http://127.0.0.1:9/live": SourceReason.CONNECTION_REFUSED,
            f"http://127.0.0.1:{silent}/live": SourceReason.NO_ANSWER,
            f"rtsp://127.0.0.1:{silent}/live": SourceReason.NO_ANSWER,
            f"{camera.url.replace('http', 'https')}/live": SourceReason.TLS,
            f"{camera.url}/401": SourceReason.UNAUTHORIZED,
            f"{camera.url}/403": SourceReason.FORBIDDEN,
            f"{camera.url}/none": SourceReason.NOT_FOUND,
            f"{camera.url}/moved": SourceReason.REDIRECTED,
            f"{camera.url}/page": SourceReason.NOT_VIDEO,
            str(tmp_path / "none.mp4"): SourceReason.NO_FILE,
            str(tmp_path / "sound.mp4"): SourceReason.AUDIO_ONLY,
            str(tmp_path / "wide.mp4"): SourceReason.TOO_LARGE,
            "/etc/passwd": SourceReason.FILE_REFUSED,
        }
        usual, hasty = (
            replace(QUICK, max_width=512, open_timeout_s=limit_s) for limit_s in (QUICK.open_timeout_s, 0.5)
        )
        found = {url: probe_url(url, hasty if f":{silent}/" in url else usual).reason for url in expected}

    assert found == expected


def test_a_stream_without_a_key_frame_has_its_reason(tmp_path: Path) -> None:
    """As when a client joins a camera that sends a key frame every minute."""
    path = footage.write(tmp_path / "video.ts", replace(H264, frames=30, container="mpegts"))
    data = path.read_bytes()
    packets = [data[start : start + 188] for start in range(0, len(data), 188)]
    keyless = b"".join(without_key_frames(packets))

    with servers.scripted_server({"/live.ts": Reply(pieces=(keyless,))}) as camera:
        found = probe_url(f"{camera.url}/live.ts", QUICK)

    assert found.reason is SourceReason.NO_KEY_FRAME


def without_key_frames(packets: list[bytes]) -> list[bytes]:
    """A transport stream's tables, then its frames between the first key frame and the second."""
    starts = [index for index, packet in enumerate(packets) if packet[1] & 0x5F == 0x41]
    return packets[: starts[0]] + packets[starts[1] : starts[9]]


def test_a_simulated_camera_is_good() -> None:
    assert probe_url("sim:gate", QUICK).reason is None


def test_an_invalid_url_is_refused() -> None:
    with pytest.raises(InvalidCamera, match="gopher"):
        probe_url("gopher://old", QUICK)


def test_probing_is_bounded_in_time() -> None:
    """Although the server goes on sending single bytes."""
    config = replace(QUICK, open_timeout_s=0.5, stall_after_s=0.5)
    with servers.scripted_server({"/live": Reply(pieces=(b"\x47",) * 600, pause_s=0.1)}) as camera:
        began_s = time.monotonic()
        result = probe_url(f"{camera.url}/live", config)

    assert result.reason is SourceReason.NO_ANSWER
    assert time.monotonic() - began_s < probe.max_duration_s(config) < 10
