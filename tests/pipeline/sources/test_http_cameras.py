"""What cameras and recorders send over HTTP is read although it breaks rules, and a live stream is never a file."""

from __future__ import annotations

import gzip
import itertools
import statistics
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import CameraState, SourceError, SourceReason
from pipeline.sources import hls_variants
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, jpeg
from tests.pipeline.playing import QUICK, play, running_feed
from tests.pipeline.servers import Reply

FAST = replace(QUICK, sample_fps=8, max_clip_wait_s=0.3, first_retry_s=0.1, last_retry_s=0.2)
MIXED = (("Content-Type", "multipart/x-mixed-replace; boundary=frame"),)
PICTURES = [jpeg(number) for number in range(8)]
PLAIN = (("Content-Type", "text/plain"),)
MEDIA = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """3 s of H.264 as a transport stream."""
    path = tmp_path_factory.mktemp("clips") / "clip.ts"
    return footage.write(path, replace(H264, container="mpegts")).read_bytes()


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
NO_DURATION = {"flvflags": "no_duration_filesize"}


@pytest.mark.parametrize(
    "video",
    [replace(H264, muxing=FRAGMENTED), replace(H264, container="flv"),
     replace(H264, container="flv", muxing=NO_DURATION)],
    ids=["fragmented_mp4", "flv_with_duration", "flv"],
)  # fmt: skip
def test_a_stream_whose_server_names_no_end_is_live(video: footage.Footage, tmp_path: Path) -> None:
    data = footage.write(tmp_path / "video", video).read_bytes()
    with (
        servers.scripted_server({"/live": Reply(pieces=(data,))}) as camera,
        running_feed(f"{camera.url}/live", config=FAST, retry_jitter_s=0) as feed,
    ):
        feed.wait_for(CameraState.LIVE)
        feed.wait_for(CameraState.STALLED)
        feed.states.clear()
        feed.wait_for(CameraState.LIVE)

    assert CameraState.ENDED not in dict(feed.states)


def part(picture: bytes, *headers: str, line: str = "\r\n", boundary: str = "--frame") -> bytes:
    return f"{boundary}{line}{''.join(header + line for header in headers)}{line}".encode() + picture + line.encode()


JPEG_TYPE = "Content-Type: image/jpeg"
ODD_PARTS = {
    "first_without_boundary": [PICTURES[0], *(part(one, JPEG_TYPE) for one in PICTURES[1:])],
    "image_jpg": [part(one, "Content-Type: image/jpg") for one in PICTURES],
    "parameters": [part(one, "Content-Type: image/jpeg; charset=x") for one in PICTURES],
    "header_without_colon": [part(one, "X-Timestamp 12", JPEG_TYPE) for one in PICTURES],
    "text_before": [b"hello\r\nthere\r\n", *(part(one, JPEG_TYPE) for one in PICTURES)],
    "length_one_short": [part(one, JPEG_TYPE, f"Content-Length: {len(one) - 1}") for one in PICTURES],
    "length_far_off": [part(one, JPEG_TYPE, "Content-Length: 7") for one in PICTURES],
    "no_type": [part(one) for one in PICTURES],
    "other_boundary": [part(one, JPEG_TYPE, boundary="--other") for one in PICTURES],
    "no_boundaries": PICTURES,
    "line_feeds": [part(one, JPEG_TYPE, line="\n") for one in PICTURES],
    "one_breaks_off": [part(PICTURES[0][:200], JPEG_TYPE), *(part(one, JPEG_TYPE) for one in PICTURES[1:])],
}


@pytest.mark.parametrize("parts", ODD_PARTS.values(), ids=ODD_PARTS)
@pytest.mark.parametrize(
    "headers", [MIXED, (), (("Content-Type", "application/octet-stream"),)], ids=["mixed", "", "x"]
)
def test_the_pictures_of_an_odd_stream_are_found(parts: list[bytes], headers: tuple[tuple[str, str], ...]) -> None:
    if not headers and parts[0].startswith(b"hello"):
        pytest.skip("nothing says that there are pictures")
    with servers.scripted_server({"/video": Reply(headers=headers, pieces=parts, pause_s=0.13)}) as camera:
        played = play(f"{camera.url}/video", config=FAST, max_samples=3)

    assert len(played.samples) == 3


def test_a_stream_without_pictures_has_its_reason() -> None:
    with (
        servers.scripted_server({"/video": Reply(headers=MIXED, pieces=(b"no picture " * 20_000,) * 10)}) as camera,
        pytest.raises(SourceError, match="no JPEG picture in its first 1 MiB") as caught,
    ):
        play(f"{camera.url}/video")

    assert caught.value.reason is SourceReason.NOT_VIDEO


class SnapshotCamera:
    """A new picture for each request, but the same one for `repeats` requests in turn."""

    def __init__(self, repeats: int = 1, content_type: str = "image/jpeg") -> None:
        self._numbers, self._repeats, self._type = itertools.count(), repeats, content_type
        self.validators: list[str | None] = []

    def __call__(self, headers: dict[str, str]) -> Reply:
        version = str(next(self._numbers) // self._repeats)
        self.validators.append(headers.get("If-Modified-Since"))
        if headers.get("If-Modified-Since") == version:
            return Reply(304)
        picture = jpeg(int(version) % 200)
        types = (("Content-Type", self._type), ("Content-Length", str(len(picture))), ("Last-Modified", version))
        return Reply(headers=types, pieces=(picture,))


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/jpg", "application/octet-stream", "IMAGE/JPEG; q=1"])
def test_a_url_of_one_picture_is_asked_at_the_sampling_rate(content_type: str) -> None:
    with servers.scripted_server({"/snapshot": SnapshotCamera(content_type=content_type)}) as camera:
        played = play(f"{camera.url}/snapshot", config=FAST, max_samples=5)
        steps_s = [later - earlier for earlier, later in itertools.pairwise(camera.times_s)]

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == sorted(set(numbers))
    assert statistics.median(steps_s) > 0.5 / FAST.sample_fps


def test_a_picture_that_has_not_changed_is_not_sent_again_and_the_camera_stays_live() -> None:
    snapshots = SnapshotCamera(repeats=20)
    with (
        servers.scripted_server({"/snapshot": snapshots}) as camera,
        running_feed(f"{camera.url}/snapshot", config=replace(FAST, stall_after_s=2.0)) as feed,
    ):
        numbers: list[int] = []
        while len(numbers) < 3:
            numbers += [footage.number_of(frame) for frame in feed.take().frames]

    assert numbers == sorted(set(numbers))
    assert {state for state, _ in feed.states} == {CameraState.CONNECTING, CameraState.LIVE}
    assert snapshots.validators[1] == "0"


def test_a_snapshot_camera_that_fails_is_tried_again() -> None:
    replies: dict[str, object] = {"/snapshot": SnapshotCamera()}
    with (
        servers.scripted_server(replies) as camera,  # type: ignore[arg-type]
        running_feed(f"{camera.url}/snapshot", config=FAST, retry_jitter_s=0) as feed,
    ):
        feed.wait_for(CameraState.LIVE)
        replies["/snapshot"] = Reply(503)
        detail = feed.wait_for(CameraState.STALLED)
        replies["/snapshot"] = SnapshotCamera()
        feed.states.clear()
        feed.wait_for(CameraState.LIVE)

    assert "HTTP 503" in detail


def listed(name: str, headers: tuple[tuple[str, str], ...] = PLAIN) -> Reply:
    return Reply(headers=headers, pieces=(MEDIA.format(name).encode(),))


@pytest.mark.parametrize("segment", ["/seg.php?id=7", "/segment", "/seg.m4s.bin", "/seg.ts"])
@pytest.mark.parametrize("headers", [PLAIN, (), (("Content-Type", "application/x-mpegURL"),)])
def test_playlists_and_segments_may_have_any_type_and_name(
    clip: bytes, segment: str, headers: tuple[tuple[str, str], ...]
) -> None:
    replies = {"/list": listed(segment, headers), segment.partition("?")[0]: Reply(pieces=(clip,))}
    with servers.scripted_server(replies) as camera:
        assert len(play(f"{camera.url}/list").samples) == 6


@pytest.mark.parametrize("sent", [0, 188, 1_880], ids=["silent", "a packet", "a part"])
@pytest.mark.parametrize("before", [0, 1], ids=["first segment", "second segment"])
def test_a_segment_that_does_not_come_is_no_answer_whatever_came_before_it(clip: bytes, before: int, sent: int) -> None:
    is_over = threading.Event()

    def slow() -> Iterator[bytes]:
        yield clip[:sent]
        is_over.wait(30)

    lines = [f"#EXTINF:3,\n{name}\n" for name in ("/a.ts",) * before + ("/slow.ts", "/a.ts")]
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n{''.join(lines)}"
    replies = {"/list": Reply(headers=PLAIN, pieces=(text.encode(),)), "/a.ts": Reply(pieces=(clip,)),
               "/slow.ts": lambda _: Reply(pieces=slow())}  # fmt: skip
    config = replace(QUICK, open_timeout_s=0.5, stall_after_s=0.5)
    with servers.scripted_server(replies) as camera:
        with pytest.raises(SourceError, match="no answer within") as caught:
            play(f"{camera.url}/list", config=config)
        is_over.set()

    assert caught.value.reason is SourceReason.NO_ANSWER


def test_a_playlist_that_names_no_segment_yet_is_asked_again_soon(clip: bytes) -> None:
    """Not only after `refused_retry_s`, as what is no video."""
    empty = Reply(headers=PLAIN, pieces=(b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n",))
    replies = {"/list": empty, "/a.ts": Reply(pieces=(clip,))}
    with (
        servers.scripted_server(replies) as camera,
        running_feed(f"{camera.url}/list", config=FAST, retry_jitter_s=0) as feed,
    ):
        detail = feed.wait_for(CameraState.BACKING_OFF)
        replies["/list"] = Reply(headers=PLAIN, pieces=(MEDIA.format("a.ts").replace("#EXT-X-ENDLIST", "").encode(),))
        feed.wait_for(CameraState.LIVE)

    assert "its playlist names no segment yet" in detail
    assert SourceReason.NO_PICTURES in feed.reasons


@pytest.mark.parametrize(
    ("playlist", "waits"),
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n", True),
        (MEDIA, False),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-ENDLIST\n", False),
        ('#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"\naudio.m3u8\n', False),
        ('#EXTM3U\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=64000,URI="keys.m3u8"\n', False),
        ('#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="audio.m3u8"\n', False),
        ("<html>", False),
    ],
)
def test_a_playlist_without_segments_is_waited_for_only_if_it_may_get_some(playlist: str, waits: bool) -> None:
    assert hls_variants.waits_for_segments(playlist) is waits


def test_a_stream_whose_variants_are_sound_says_so_instead_of_waiting_for_a_segment(tmp_path: Path) -> None:
    footage.write_audio(tmp_path / "sound.mp4")
    master = b'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"\n/audio\n'
    replies = {
        "/list": Reply(headers=PLAIN, pieces=(master,)),
        "/audio": listed("/sound.mp4"),
        "/sound.mp4": Reply(pieces=((tmp_path / "sound.mp4").read_bytes(),)),
    }
    with servers.scripted_server(replies) as camera, pytest.raises(SourceError) as caught:
        play(f"{camera.url}/list")

    assert caught.value.reason is SourceReason.AUDIO_ONLY


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"
audio.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=8000000,RESOLUTION=1920x1080,CODECS="avc1.640028,mp4a.40.2",AUDIO="a"
large/list.m3u8
#EXT-X-STREAM-INF:AVERAGE-BANDWIDTH=1,BANDWIDTH=900000,RESOLUTION=640x360
middle/list.m3u8?token=1

#EXT-X-STREAM-INF:BANDWIDTH=700000,RESOLUTION=640x360
cheap/list.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=320x180
small/list.m3u8
"""


@pytest.mark.parametrize(
    ("width", "url"),
    [(64, "small"), (320, "small"), (321, "cheap"), (641, "large"), (5_000, "large")],
)
def test_the_variant_nearest_above_what_is_needed_is_chosen(width: int, url: str) -> None:
    assert hls_variants.choose(hls_variants.parse(MASTER), width).url == f"{url}/list.m3u8"


def test_without_sizes_the_cheapest_variant_is_chosen() -> None:
    text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\na\n#EXT-X-STREAM-INF:BANDWIDTH=8\nb\n"

    assert hls_variants.choose(hls_variants.parse(text), 320).url == "b"


def test_only_the_chosen_variant_is_requested(clip: bytes) -> None:
    replies = {"/master": Reply(headers=PLAIN, pieces=(MASTER.encode(),)), "/small/list.m3u8": listed("a.ts"),
               "/small/a.ts": Reply(pieces=(clip,))}  # fmt: skip
    with servers.scripted_server(replies) as camera:
        assert len(play(f"{camera.url}/master").samples) == 6

    assert [path for path, _ in camera.requests] == ["/master", "/small/list.m3u8", "/small/a.ts"]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
def test_a_compressed_playlist_is_read(clip: bytes, encoding: str) -> None:
    text = MEDIA.format("a.ts").encode()
    packed = gzip.compress(text) if encoding != "deflate" else zlib.compress(text)
    headers = (("Content-Encoding", encoding), ("Content-Length", str(len(packed))))
    replies = {"/list.m3u8": Reply(headers=headers, pieces=(packed,)), "/a.ts": Reply(pieces=(clip,))}
    with servers.scripted_server(replies) as camera:
        assert len(play(f"{camera.url}/list.m3u8").samples) == 6


def test_a_playlist_that_is_no_gzip_has_its_reason() -> None:
    reply = Reply(headers=(("Content-Encoding", "gzip"),), pieces=(MEDIA.encode(),))
    with servers.scripted_server({"/list.m3u8": reply}) as camera, pytest.raises(SourceError) as caught:
        play(f"{camera.url}/list.m3u8")

    assert "its body is not gzip" in str(caught.value)


class CookieCamera:
    """Redirects to itself with a cookie until the cookie comes back."""

    def __init__(self, reply: Reply, location: str) -> None:
        self._reply, self._location = reply, location

    def __call__(self, headers: dict[str, str]) -> Reply:
        if headers.get("Cookie") == "session=c4n4ry":
            return self._reply
        cookie = ("Set-Cookie", "session=c4n4ry; Path=/; HttpOnly")
        return Reply(302, (("Location", self._location), cookie))


def test_a_redirect_to_the_same_host_is_followed_and_its_cookie_is_kept(clip: bytes) -> None:
    replies = {
        "/live": CookieCamera(Reply(301, (("Location", "/hls/list.m3u8"),)), "/live?checked=1"),
        "/hls/list.m3u8": CookieCamera(listed("a.ts"), "/login"),
        "/hls/a.ts": CookieCamera(Reply(pieces=(clip,)), "/login"),
    }
    with servers.scripted_server(replies) as camera:
        played = play(f"{camera.url}/live")

    assert len(played.samples) == 6
    assert [path for path, _ in camera.requests] == ["/live", "/live?checked=1", "/hls/list.m3u8", "/hls/a.ts"]


def test_a_cookie_is_not_sent_to_another_host(clip: bytes) -> None:
    with servers.scripted_server({"/a.ts": Reply(pieces=(clip,))}, host="127.0.0.2") as other:
        replies = {"/list.m3u8": CookieCamera(listed(f"{other.url}/a.ts"), "/list.m3u8")}
        with servers.scripted_server(replies) as camera:
            assert len(play(f"{camera.url}/list.m3u8").samples) == 6

    assert all("Cookie" not in headers for _, headers in other.requests)


@pytest.mark.parametrize("is_redirected", [True, False])
def test_a_cookie_is_sent_over_tls_where_the_camera_redirected_to_it_alone(
    clip: bytes, tmp_path: Path, is_redirected: bool
) -> None:
    """Another port of its host may be another service."""
    context, certificate = servers.make_certificate(tmp_path, "IP:127.0.0.1")
    with servers.scripted_server({"/a.ts": Reply(pieces=(clip,))}, tls=context) as other:
        cookie = ("Set-Cookie", "session=c4n4ry")
        at_tls = f"{other.url}/a.ts"
        reply = Reply(302, (("Location", at_tls), cookie)) if is_redirected else listed(at_tls, (*PLAIN, cookie))
        with servers.scripted_server({"/live": reply}) as camera:
            assert len(play(f"{camera.url}/live", config=replace(QUICK, ca_file=certificate)).samples) == 6

    assert all(("Cookie" in headers) is is_redirected for _, headers in other.requests)


def test_a_secure_cookie_goes_over_tls_alone(clip: bytes, tmp_path: Path) -> None:
    """The camera redirects from http to https, and its playlist leads back."""
    context, certificate = servers.make_certificate(tmp_path, "IP:127.0.0.1")
    cookies = (("Set-Cookie", "session=c4n4ry; Path=/; SECURE; HttpOnly"), ("Set-Cookie", "plain=1"))
    plain: dict[str, Reply] = {"/a.ts": Reply(pieces=(clip,))}
    with servers.scripted_server(plain) as camera:
        replies = {
            "/list.m3u8": Reply(302, (("Location", "/again.m3u8"), *cookies)),
            "/again.m3u8": listed(f"{camera.url}/a.ts"),
        }
        with servers.scripted_server(replies, tls=context) as secure:
            plain["/live"] = Reply(302, (("Location", f"{secure.url}/list.m3u8"),))
            assert len(play(f"{camera.url}/live", config=replace(QUICK, ca_file=certificate)).samples) == 6

    assert secure.requests[-1][1]["Cookie"] == "session=c4n4ry; plain=1"
    assert camera.requests[-1][0] == "/a.ts"
    assert camera.requests[-1][1]["Cookie"] == "plain=1"


def test_redirects_in_a_circle_end_after_five() -> None:
    with (
        servers.scripted_server({"/live": Reply(302, (("Location", "/live"),))}) as camera,
        pytest.raises(SourceError) as caught,
    ):
        play(f"{camera.url}/live")

    assert caught.value.reason is SourceReason.REDIRECTED
    assert len(camera.requests) == 1 + 5
