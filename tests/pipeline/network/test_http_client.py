"""Cameras behind web servers: authentication, playlists, redirects, limits and timeouts."""

from __future__ import annotations

import base64
import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import PlaybackSpeed, SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network.deadline import Deadline
from pipeline.network.http_client import HttpClient
from pipeline.network.tls import TlsClient, TlsClients
from pipeline.network.urls import NetworkUrl, parse
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.http_input import MAX_NESTED_OPENS
from pipeline.sources.ingest_config import IngestConfig
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


@pytest.mark.parametrize("zone", ["%nowhere", "%25nowhere"])
def test_an_address_is_looked_up_on_its_network_interface_however_that_is_written(zone: str) -> None:
    assert "host 'fe80::1%nowhere' has no address" in str(refusal(f"http://[fe80::1{zone}]:8080/video"))


def test_credentials_are_sent_after_a_challenge(clip: bytes) -> None:
    reply = Reply(pieces=(clip,), challenge='Basic realm="camera"', is_authorized=basic)
    with servers.scripted_server({"/live.ts": reply}) as camera:
        host = camera.url.removeprefix("http://")
        played = play(f"http://viewer:p%40ss%2F{CANARY}@{host}/live.ts?channel=1")

    assert len(played.samples) == 6
    assert [path for path, _ in camera.requests] == ["/live.ts?channel=1"] * 2
    assert "Authorization" not in camera.requests[0][1]
    assert camera.requests[1][1]["Host"] == host


def test_a_digest_response_does_not_contain_the_password(clip: bytes) -> None:
    challenge = 'Digest realm="camera, front", nonce="n1", qop="auth", algorithm=MD5'
    reply = Reply(pieces=(clip,), challenge=challenge, is_authorized=lambda header: header.startswith("Digest "))
    with servers.scripted_server({"/live.ts": reply}) as camera:
        play(f"http://viewer:{CANARY}@{camera.url.removeprefix('http://')}/live.ts")

    header = camera.requests[1][1]["Authorization"]
    assert CANARY not in header
    assert 'realm="camera, front"' in header
    assert re.search(r'response="[0-9a-f]{32}"', header)


def test_a_server_challenges_once_and_not_for_every_segment(clip: bytes) -> None:
    guarded = {"challenge": "Basic realm=camera", "is_authorized": basic}
    replies = {
        "/list.m3u8": Reply(headers=PLAYLIST, pieces=(HLS.format("a.ts").encode(),), **guarded),
        "/a.ts": Reply(pieces=(clip,), **guarded),
    }
    with servers.scripted_server(replies) as camera:
        played = play(f"http://viewer:p%40ss%2F{CANARY}@{camera.url.removeprefix('http://')}/list.m3u8")

    assert len(played.samples) == 6
    assert [path for path, headers in camera.requests if "Authorization" not in headers] == ["/list.m3u8"]


def test_credentials_are_not_sent_to_another_server(clip: bytes) -> None:
    """A playlist may refer to another server."""
    challenge = Reply(pieces=(clip,), challenge="Basic realm=x", is_authorized=lambda header: False)
    with servers.scripted_server({"/a.ts": challenge}) as other:
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
def test_an_error_of_the_server_has_its_reason(status: int, reason: SourceReason) -> None:
    with servers.scripted_server({"/live": Reply(status)}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert refused.reason is reason
    assert f"HTTP {status}" in str(refused)
    assert ("--user and --password-file" in str(refused)) == (status == 401)


@pytest.mark.parametrize(
    "part", [b"http://[::1/a.ts", b"http://a:99999/a.ts", b"http://a:0/a.ts", b"\xff\xfe.ts", b"//"]
)
def test_a_playlist_with_an_invalid_url_is_refused(part: bytes) -> None:
    body = HLS.encode().replace(b"{}", part)
    with servers.scripted_server({"/list.m3u8": Reply(headers=PLAYLIST, pieces=(body,))}) as camera:
        refused = refusal(f"{camera.url}/list.m3u8")

    assert refused.reason in (SourceReason.ADDRESS_REFUSED, SourceReason.NOT_VIDEO, SourceReason.NOT_FOUND)


@pytest.mark.parametrize(
    "target",
    [
        "http://[",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://10.0.0.9:8080/live?stream=main",
    ],
)
def test_a_redirect_to_another_host_is_reported_and_not_followed(target: str) -> None:
    with servers.scripted_server({"/live": Reply(302, (("Location", target),))}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert refused.reason is SourceReason.REDIRECTED
    assert f"{camera.url}/live" in str(refused)
    assert target in str(refused)
    assert len(camera.requests) == 1


def test_a_redirect_that_holds_a_login_does_not_show_it() -> None:
    target = f"http://u:{CANARY}@10.0.0.9/live/user=a_password={CANARY}_channel=1?stream=main&token={CANARY}"
    with servers.scripted_server({"/live": Reply(302, (("Location", target),))}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert "http://10.0.0.9/live/user=***?stream=main&token=***" in str(refused)
    assert CANARY not in str(refused)


@pytest.mark.parametrize(
    "part", ["http://169.254.169.254/a.ts", "file:///etc/passwd", "http://localhost:1/a.ts", "rtsp://10.0.0.1/a.ts"]
)
def test_the_urls_of_a_playlist_follow_the_rules_of_the_camera(part: str) -> None:
    listed = Reply(headers=PLAYLIST, pieces=(HLS.format(part).encode(),))
    config = replace(QUICK, allowed_networks=("127.0.0.2/32",))
    with servers.scripted_server({"/list.m3u8": listed}, host="127.0.0.2") as camera:
        refused = refusal(f"{camera.url}/list.m3u8", config)

    assert refused.reason in (SourceReason.ADDRESS_REFUSED, SourceReason.NOT_VIDEO)


def test_a_host_with_a_loopback_address_is_refused() -> None:
    refused = refusal("http://localhost:9/live", replace(QUICK, allowed_networks=()))

    assert isinstance(refused, SourceInvalid)
    assert refused.reason is SourceReason.ADDRESS_REFUSED


@pytest.mark.parametrize(("headers", "path"), [(PLAYLIST, "/list.m3u8"), ((("Content-Type", "text/plain"),), "/list")])
def test_a_playlist_that_is_too_large_is_refused(headers: tuple[tuple[str, str], ...], path: str) -> None:
    """Also one that only its first line shows to be a playlist."""
    line = b"#EXTINF:3,\nsegment.ts\n"
    listed = Reply(headers=headers, pieces=(b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n", *(line * 10_000,) * 100))
    with servers.scripted_server({path: listed}) as camera:
        refused = refusal(f"{camera.url}{path}")

    assert refused.reason is SourceReason.TOO_LARGE
    assert "1048576" in str(refused)


def test_a_playlist_of_thousands_causes_a_bounded_number_of_connections() -> None:
    lines = "".join(f"#EXTINF:3,\n/{number}.ts\n" for number in range(2_000))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n{lines}#EXT-X-ENDLIST\n"
    with servers.scripted_server({"/list.m3u8": Reply(headers=PLAYLIST, pieces=(text.encode(),))}) as camera:
        refused = refusal(f"{camera.url}/list.m3u8", replace(QUICK, open_timeout_s=20))

    assert refused.reason in (SourceReason.TOO_LARGE, SourceReason.NOT_FOUND)
    assert len(camera.requests) <= MAX_NESTED_OPENS + 1


def test_an_encrypted_playlist_has_its_reason(clip: bytes) -> None:
    key = '#EXT-X-KEY:METHOD=AES-128,URI="key.bin"\n#EXTINF'
    listed = Reply(headers=PLAYLIST, pieces=(HLS.format("a.ts").replace("#EXTINF", key).encode(),))
    replies = {"/list.m3u8": listed, "/key.bin": Reply(pieces=(b"k" * 16,)), "/a.ts": Reply(pieces=(clip,))}
    with servers.scripted_server(replies) as camera:
        refused = refusal(f"{camera.url}/list.m3u8")

    assert refused.reason is SourceReason.NO_DECODER
    assert "encrypted" in str(refused)


class GrowingPlaylist:
    """The body of a live playlist. Each request sees one more segment, and the newest three only."""

    def __init__(self, segments: list[Path]) -> None:
        self._segments = segments
        self._count = 2

    def __iter__(self) -> Iterator[bytes]:
        self._count = min(self._count + 1, len(self._segments))
        first = self._count - 3
        yield f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n".encode()
        for segment in self._segments[first : self._count]:
            yield f"#EXTINF:0.25,\n{segment.name}\n".encode()


def test_a_playlist_is_followed_as_it_grows(tmp_path: Path) -> None:
    muxing = {"hls_time": "0.25", "hls_segment_filename": f"{tmp_path}/%03d.ts"}
    footage.write(tmp_path / "all.m3u8", replace(H264, fps=40, frames=100, container="hls", muxing=muxing))
    segments = sorted(tmp_path.glob("*.ts"))
    replies = {f"/{segment.name}": Reply(pieces=(segment.read_bytes(),)) for segment in segments}
    replies["/live.m3u8"] = Reply(headers=PLAYLIST, pieces=GrowingPlaylist(segments))

    with servers.scripted_server(replies) as camera:
        config = replace(QUICK, sample_fps=8, stall_after_s=6)
        played = play(f"{camera.url}/live.m3u8", config=config, max_samples=14)

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert len(segments) == 10
    assert numbers == sorted(set(numbers))
    assert numbers[0] < 50 < numbers[-1]  # the first playlist does not contain the segment of frame 50


def test_a_live_segment_that_arrives_whole_is_not_dropped_as_late(clip: bytes) -> None:
    live = HLS.format("a.ts").replace("#EXT-X-ENDLIST\n", "")
    replies = {"/live.m3u8": Reply(headers=PLAYLIST, pieces=(live.encode(),)), "/a.ts": Reply(pieces=(clip,))}
    with servers.scripted_server(replies) as camera:
        config = replace(QUICK, max_lag_s=0.5)
        played = play(f"{camera.url}/live.m3u8", pace=PlaybackSpeed.LIVE, config=config, max_samples=4)

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15]
    assert played.dropped == 0


def test_segments_that_are_byte_ranges_are_read(clip: bytes, tmp_path: Path) -> None:
    size = len(clip) // 188 // 2 * 188
    text = "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:3\n"
    for first, length in ((0, size), (size, len(clip) - size)):
        text += f"#EXTINF:1.5,\n#EXT-X-BYTERANGE:{length}@{first}\nall.ts\n"
    (tmp_path / "list.m3u8").write_text(f"{text}#EXT-X-ENDLIST\n")
    (tmp_path / "all.ts").write_bytes(clip)
    with servers.file_server(tmp_path, has_ranges=True) as server:
        played = play(f"{server}/list.m3u8")

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == [0, 5, 10, 15, 20, 25]


def test_an_mp4_with_its_index_at_the_end_is_read_by_ranges(tmp_path: Path) -> None:
    footage.write(tmp_path / "video.mp4", replace(H264, frames=50))
    with servers.file_server(tmp_path, has_ranges=True) as server:
        played = play(f"{server}/video.mp4")

    assert [footage.number_of(sample.image.to_rgb()) for sample in played.samples] == list(range(0, 50, 5))


def test_a_server_that_ignores_a_requested_range_is_refused() -> None:
    """Reading on would give the wrong bytes."""
    data = bytes(1 << 20)
    headers = (("Accept-Ranges", "bytes"), ("Content-Length", str(len(data))))
    with servers.scripted_server({"/a.mp4": Reply(headers=headers, pieces=(data,))}) as camera:
        deadline = Deadline(10.0, lambda: False)
        tls = TlsClient(ssl.create_default_context())
        client = HttpClient(camera.url, QUICK.address_rules, TlsClients(tls, tls), deadline)
        file = client.open(f"{camera.url}/a.mp4")
        file.seek(len(data) // 2)
        with pytest.raises(SourceUnreachable, match="does not support byte ranges"):
            file.read()
        file.close()


@pytest.mark.parametrize("body", [(), (b"\n" * 100,), (b"<html>no camera here</html>" * 50,)], ids=str)
def test_a_body_without_video_has_its_reason(body: tuple[bytes, ...]) -> None:
    with servers.scripted_server({"/live": Reply(pieces=body)}) as camera:
        refused = refusal(f"{camera.url}/live")

    assert refused.reason in (SourceReason.NOT_VIDEO, SourceReason.BROKE_OFF)


def test_a_server_that_sends_single_bytes_is_given_up() -> None:
    """A byte now and then does not extend the deadline."""
    with servers.scripted_server({"/live": Reply(pieces=(b"\x47",) * 100, pause_s=0.2)}) as camera:
        began_s = time.monotonic()
        refused = refusal(f"{camera.url}/live", replace(QUICK, open_timeout_s=0.5))

    assert refused.reason is SourceReason.NO_ANSWER
    assert time.monotonic() - began_s < 5


def test_a_body_that_ends_early_has_its_reason(clip: bytes) -> None:
    short = Reply(headers=(("Content-Length", str(len(clip))),), pieces=(clip[: len(clip) // 2],))
    with servers.scripted_server({"/a.ts": short}) as camera:
        refused = refusal(f"{camera.url}/a.ts")

    assert refused.reason is SourceReason.BROKE_OFF


def test_a_stop_request_ends_a_stream_at_once(clip: bytes) -> None:
    stopped = threading.Event()
    reply = Reply(pieces=(clip, *(b"",) * 50), pause_s=0.2)
    with servers.scripted_server({"/live.ts": reply}) as camera:
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

    assert time.monotonic() - began_s < 5  # the server goes on for ten


def test_the_certificate_must_be_trusted_and_name_the_host(clip: bytes, tmp_path: Path) -> None:
    tls, certificate = servers.make_certificate(tmp_path, "DNS:localhost")
    trusting = replace(QUICK, ca_file=certificate)
    with servers.scripted_server({"/a.ts": Reply(pieces=(clip,))}, tls=tls) as camera:
        by_name = camera.url.replace("127.0.0.1", "localhost")
        assert len(play(f"{by_name}/a.ts", config=trusting).samples) == 6
        wrong_name = refusal(f"{camera.url}/a.ts", trusting)
        unknown = refusal(f"{by_name}/a.ts")

    assert wrong_name.reason is unknown.reason is SourceReason.TLS
    assert "127.0.0.1" in str(wrong_name)
    assert "self-signed" in str(unknown)
