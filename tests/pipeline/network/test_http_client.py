"""Cameras behind web servers: what they are sent, what is believed of them, and when it is enough."""

from __future__ import annotations

import base64
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import SourceError, SourceInvalid, SourceReason
from pipeline.network.urls import NetworkUrl, parse
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.libav_inputs import MAX_NESTED_OPENS
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK, play
from tests.pipeline.servers import Reply

CANARY = "c4n4ry"
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
PLAYLIST = (("Content-Type", "application/vnd.apple.mpegurl"),)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """3 s of H.264 as a transport stream."""
    path = tmp_path_factory.mktemp("clips") / "clip.ts"
    return footage.write(path, replace(H264, container="mpegts")).read_bytes()


def refusal(url: str, config: IngestConfig = QUICK) -> SourceError:
    with pytest.raises(SourceError) as caught:
        play(url, config=config)
    return caught.value


def basic(header: str) -> bool:
    return header == "Basic " + base64.b64encode(f"viewer:p@ss/{CANARY}".encode()).decode()


def test_credentials_are_shown_to_a_server_that_asks(clip: bytes) -> None:
    reply = Reply(pieces=(clip,), challenge='Basic realm="camera"', is_authorized=basic)
    with servers.scripted_server({"/live.ts": reply}) as camera:
        host = camera.url.removeprefix("http://")
        played = play(f"http://viewer:p%40ss%2F{CANARY}@{host}/live.ts?channel=1")

    assert len(played.samples) == 6
    assert [path for path, _ in camera.requests] == ["/live.ts?channel=1"] * 2
    assert "Authorization" not in camera.requests[0][1]
    assert camera.requests[1][1]["Host"] == host


def test_a_digest_is_answered_without_the_password(clip: bytes) -> None:
    challenge = 'Digest realm="camera, front", nonce="n1", qop="auth", algorithm=MD5'
    reply = Reply(pieces=(clip,), challenge=challenge, is_authorized=lambda header: header.startswith("Digest "))
    with servers.scripted_server({"/live.ts": reply}) as camera:
        play(f"http://viewer:{CANARY}@{camera.url.removeprefix('http://')}/live.ts")

    said = camera.requests[1][1]["Authorization"]
    assert CANARY not in said
    assert 'realm="camera, front"' in said
    assert re.search(r'response="[0-9a-f]{32}"', said)


def test_a_server_that_asked_once_need_not_ask_for_every_part(clip: bytes) -> None:
    guarded = {"challenge": "Basic realm=camera", "is_authorized": basic}
    replies = {
        "/list.m3u8": Reply(headers=PLAYLIST, pieces=(HLS.format("a.ts").encode(),), **guarded),
        "/a.ts": Reply(pieces=(clip,), **guarded),
    }
    with servers.scripted_server(replies) as camera:
        played = play(f"http://viewer:p%40ss%2F{CANARY}@{camera.url.removeprefix('http://')}/list.m3u8")

    assert len(played.samples) == 6
    assert [path for path, headers in camera.requests if "Authorization" not in headers] == ["/list.m3u8"]


def test_credentials_stay_at_home(clip: bytes) -> None:
    """A playlist may name another server; that one is told nothing."""
    asking = Reply(pieces=(clip,), challenge="Basic realm=x", is_authorized=lambda header: False)
    with servers.scripted_server({"/a.ts": asking}) as other:
        listed = Reply(headers=PLAYLIST, pieces=(HLS.format(f"{other.url}/a.ts").encode(),))
        with servers.scripted_server({"/list.m3u8": listed}) as camera:
            refused = refusal(f"http://viewer:{CANARY}@{camera.url.removeprefix('http://')}/list.m3u8")

    assert refused.reason is SourceReason.UNAUTHORIZED
    assert [headers.get("Authorization") for _, headers in other.requests] == [None] * len(other.requests)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, SourceReason.UNAUTHORIZED),
        (403, SourceReason.FORBIDDEN),
        (404, SourceReason.NOT_FOUND),
        (503, SourceReason.SERVER_ERROR),
    ],
)
def test_a_refusal_of_the_server_has_its_reason(status: int, reason: SourceReason) -> None:
    with servers.scripted_server({"/live": Reply(status)}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert refused.reason is reason
    assert f"HTTP {status}" in str(refused)


@pytest.mark.parametrize(
    "part", [b"http://[::1/a.ts", b"http://a:99999/a.ts", b"http://a:0/a.ts", b"\xff\xfe.ts", b"//"]
)
def test_a_playlist_that_names_what_is_no_url_is_refused(part: bytes) -> None:
    body = HLS.encode().replace(b"{}", part)
    with servers.scripted_server({"/list.m3u8": Reply(headers=PLAYLIST, pieces=(body,))}) as camera:
        refused = refusal(f"{camera.url}/list.m3u8")

    assert refused.reason in (SourceReason.ADDRESS_REFUSED, SourceReason.NOT_VIDEO, SourceReason.NOT_FOUND)


@pytest.mark.parametrize(
    "there", ["http://[", "http://169.254.169.254/latest/meta-data", "/elsewhere", "file:///etc/passwd"]
)
def test_a_redirect_is_named_and_not_followed(there: str) -> None:
    with servers.scripted_server({"/live": Reply(302, (("Location", there),))}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert refused.reason is SourceReason.REDIRECTED
    assert f"{camera.url}/live" in str(refused)
    assert there in str(refused)
    assert len(camera.requests) == 1


@pytest.mark.parametrize(
    "part", ["http://169.254.169.254/a.ts", "file:///etc/passwd", "http://localhost:1/a.ts", "rtsp://10.0.0.1/a.ts"]
)
def test_what_a_playlist_names_is_judged_like_the_camera_itself(part: str) -> None:
    listed = Reply(headers=PLAYLIST, pieces=(HLS.format(part).encode(),))
    config = replace(QUICK, allowed_networks=("127.0.0.2/32",))
    with servers.scripted_server({"/list.m3u8": listed}, host="127.0.0.2") as camera:
        refused = refusal(f"{camera.url}/list.m3u8", config)

    assert refused.reason in (SourceReason.ADDRESS_REFUSED, SourceReason.NOT_VIDEO)


def test_a_host_that_leads_to_this_machine_is_refused() -> None:
    refused = refusal("http://localhost:9/live", replace(QUICK, allowed_networks=()))

    assert isinstance(refused, SourceInvalid)
    assert refused.reason is SourceReason.ADDRESS_REFUSED


def test_a_playlist_without_end_is_not_read_to_its_end() -> None:
    line = b"#EXTINF:3,\nsegment.ts\n"
    listed = Reply(headers=PLAYLIST, pieces=(b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n", *(line * 10_000,) * 100))
    with servers.scripted_server({"/list.m3u8": listed}) as camera:
        refused = refusal(f"{camera.url}/list.m3u8")

    assert refused.reason is SourceReason.TOO_LARGE
    assert "1048576" in str(refused)


def test_a_playlist_of_thousands_does_not_make_us_knock_at_thousands_of_doors() -> None:
    lines = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={number + 1}\n/{number}.m3u8\n" for number in range(2_000))
    with servers.scripted_server(
        {"/list.m3u8": Reply(headers=PLAYLIST, pieces=(f"#EXTM3U\n{lines}".encode(),))}
    ) as camera:
        refused = refusal(f"{camera.url}/list.m3u8", replace(QUICK, open_timeout_s=20))

    assert refused.reason is SourceReason.TOO_LARGE
    assert len(camera.requests) <= MAX_NESTED_OPENS + 1


def test_an_encrypted_playlist_is_told_as_that(clip: bytes) -> None:
    key = '#EXT-X-KEY:METHOD=AES-128,URI="key.bin"\n#EXTINF'
    listed = Reply(headers=PLAYLIST, pieces=(HLS.format("a.ts").replace("#EXTINF", key).encode(),))
    replies = {"/list.m3u8": listed, "/key.bin": Reply(pieces=(b"k" * 16,)), "/a.ts": Reply(pieces=(clip,))}
    with servers.scripted_server(replies) as camera:
        refused = refusal(f"{camera.url}/list.m3u8")

    assert refused.reason is SourceReason.NO_DECODER
    assert "encrypted" in str(refused)


def test_a_playlist_is_followed_as_it_grows(tmp_path: Path) -> None:
    made, served = tmp_path / "made", tmp_path / "served"
    made.mkdir()
    served.mkdir()
    muxing = {"hls_time": "1", "hls_segment_filename": f"{made}/%03d.ts"}
    footage.write(made / "all.m3u8", replace(H264, frames=100, container="hls", muxing=muxing))
    segments = sorted(made.glob("*.ts"))

    def grow(number: int) -> None:
        """The newest three of so many segments; a camera forgets the older ones."""
        known = segments[max(0, number - 3) : number]
        (served / segments[number - 1].name).write_bytes(segments[number - 1].read_bytes())
        lines = "".join(f"#EXTINF:1.0,\n{segment.name}\n" for segment in known)
        head = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{max(0, number - 3)}\n"
        (served / "new").write_text(head + lines)
        (served / "new").rename(served / "live.m3u8")

    def grow_on() -> None:
        for number in range(4, len(segments) + 1):
            time.sleep(1.0)
            grow(number)

    for number in range(1, 4):
        grow(number)
    growing = threading.Thread(target=grow_on)
    growing.start()
    with servers.file_server(served) as server:
        played = play(f"{server}/live.m3u8", config=replace(QUICK, stall_after_s=6), max_samples=14)
    growing.join()

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == sorted(set(numbers))
    assert numbers[0] < 50 < numbers[-1]  # whose segment no playlist named at first


def test_parts_of_a_file_are_read_by_byte_range(clip: bytes, tmp_path: Path) -> None:
    size = len(clip) // 188 // 2 * 188
    text = "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:3\n"
    for first, length in ((0, size), (size, len(clip) - size)):
        text += f"#EXTINF:1.5,\n#EXT-X-BYTERANGE:{length}@{first}\nall.ts\n"
    (tmp_path / "list.m3u8").write_text(f"{text}#EXT-X-ENDLIST\n")
    (tmp_path / "all.ts").write_bytes(clip)
    with servers.file_server(tmp_path, has_ranges=True) as server:
        played = play(f"{server}/list.m3u8")

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15, 20, 25]


def test_an_mp4_with_its_index_at_the_end_is_read_by_parts(tmp_path: Path) -> None:
    footage.write(tmp_path / "video.mp4", replace(H264, frames=50))
    with servers.file_server(tmp_path, has_ranges=True) as server:
        played = play(f"{server}/video.mp4")

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == list(range(0, 50, 5))


@pytest.mark.parametrize("body", [(), (b"\n" * 100,), (b"<html>no camera here</html>" * 50,)], ids=str)
def test_what_is_no_video_is_told_as_that(body: tuple[bytes, ...]) -> None:
    with servers.scripted_server({"/live": Reply(pieces=body)}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert refused.reason in (SourceReason.NOT_VIDEO, SourceReason.BROKE_OFF)


def test_a_server_that_drips_is_given_up() -> None:
    """A byte now and then keeps no connection open."""
    with servers.scripted_server({"/live": Reply(pieces=(b"\x47",) * 100, pause_s=0.2)}) as camera:
        began_s = time.monotonic()
        refused = refusal(f"{camera.url}/live", replace(QUICK, open_timeout_s=1.0))

    assert refused.reason is SourceReason.NO_ANSWER
    assert time.monotonic() - began_s < 3


def test_a_body_that_ends_early_broke_off(clip: bytes) -> None:
    short = Reply(headers=(("Content-Length", str(len(clip))),), pieces=(clip[: len(clip) // 2],))
    with servers.scripted_server({"/a.ts": short}) as camera:
        refused = refusal(f"{camera.url}/a.ts")

    assert refused.reason is SourceReason.BROKE_OFF


def test_a_stream_ends_at_once_when_it_is_told_to(clip: bytes) -> None:
    stopped = threading.Event()
    endless = Reply(pieces=(clip, b""), pause_s=0.0)
    held = replace(endless, pieces=(clip, *(b"",) * 50), pause_s=0.2)
    with servers.scripted_server({"/live.ts": held}) as camera:
        url = parse(f"{camera.url}/live.ts")
        assert isinstance(url, NetworkUrl)
        stream = Demuxer(url, replace(QUICK, stall_after_s=60), stopped.is_set)
        packets = stream.packets()
        next(packets)
        stopped.set()
        began_s = time.monotonic()
        with pytest.raises(SourceError):
            list(packets)
        stream.close()

    assert time.monotonic() - began_s < 1


def test_tls_is_checked_by_the_hosts_name(clip: bytes, tmp_path: Path) -> None:
    tls, made = servers.make_certificate(tmp_path, "DNS:localhost")
    believing = replace(QUICK, ca_file=made)
    with servers.scripted_server({"/a.ts": Reply(pieces=(clip,))}, tls=tls) as camera:
        by_name = camera.url.replace("127.0.0.1", "localhost")
        assert len(play(f"{by_name}/a.ts", config=believing).samples) == 6
        wrong_name = refusal(f"{camera.url}/a.ts", believing)
        unknown = refusal(f"{by_name}/a.ts")

    assert wrong_name.reason is unknown.reason is SourceReason.TLS
    assert "127.0.0.1" in str(wrong_name)
    assert "self-signed" in str(unknown)
