"""A camera's certificate is accepted by its hash, or by an authority and a name of that camera alone."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import CameraSpec, InvalidCamera, SourceError, SourceReason
from pipeline.network.tls import TlsRules, client
from pipeline.network.urls import NetworkUrl, parse_source
from pipeline.sources import probe
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline import footage, rtsp_camera, servers
from tests.pipeline.footage import H264
from tests.pipeline.playing import QUICK
from tests.pipeline.rtsp_camera import RtspCamera
from tests.pipeline.servers import Reply

NOBODY = "0" * 64


class Recorder:
    """The URL of a recorder over TLS whose certificate names no host, and how many requests it got."""

    def __init__(self, url: str, certificate: Path, count: Callable[[], int]) -> None:
        self.url, self.ca, self.count = url, certificate.read_text(), count
        self.digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.ca)).hexdigest()

    def open(self, config: IngestConfig = QUICK, **tls: str) -> None:
        url = parse_source(CameraSpec(name="gate", url=self.url, **tls))
        assert isinstance(url, NetworkUrl)
        Demuxer(url, config).close()


@pytest.fixture(params=["https", "rtsps"])
def recorder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Recorder]:
    context, certificate = servers.make_certificate(tmp_path, "DNS:recorder")
    with ExitStack() as stack:
        if request.param == "https":
            clip = footage.write(tmp_path / "clip.ts", replace(H264, container="mpegts")).read_bytes()
            server = stack.enter_context(servers.scripted_server({"/live": Reply(pieces=(clip,))}, tls=context))
            yield Recorder(f"{server.url}/live", certificate, lambda: len(server.requests))
        else:
            camera = RtspCamera()
            stack.enter_context(rtsp_camera.running(camera))
            port = stack.enter_context(servers.tls_proxy(camera.port, context))
            yield Recorder(f"rtsps://127.0.0.1:{port}/live", certificate, lambda: len(camera.requests))


def test_without_rules_the_message_says_what_can_be_given(recorder: Recorder) -> None:
    with pytest.raises(SourceError, match="tls_certificate_sha256, tls_ca or tls_name") as caught:
        recorder.open()

    assert caught.value.reason is SourceReason.TLS


def test_a_certificate_is_accepted_by_its_hash_alone(recorder: Recorder) -> None:
    recorder.open(tls_certificate_sha256=recorder.digest)


def test_another_certificate_than_the_pinned_one_is_refused_before_anything_is_sent(recorder: Recorder) -> None:
    with pytest.raises(SourceError) as caught:
        recorder.open(tls_certificate_sha256=NOBODY)

    assert caught.value.reason is SourceReason.TLS
    assert recorder.digest in str(caught.value)
    assert NOBODY in str(caught.value)
    assert recorder.count() == 0


def test_an_authority_and_a_name_of_the_camera_are_enough(recorder: Recorder) -> None:
    recorder.open(tls_ca=recorder.ca, tls_name="recorder")

    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        recorder.open(tls_ca=recorder.ca)
    with pytest.raises(SourceError, match="another"):
        recorder.open(tls_ca=recorder.ca, tls_name="another")


def test_authorities_that_are_no_pem_have_their_reason(recorder: Recorder) -> None:
    with pytest.raises(SourceError, match="tls_ca: ") as caught:
        recorder.open(tls_ca="no certificate")

    assert caught.value.reason is SourceReason.TLS


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        ({"tls_certificate_sha256": "AB:CD"}, "'AB:CD': it must be 64 hex digits in lower case"),
        ({"tls_certificate_sha256": NOBODY, "tls_name": "recorder"}, "neither tls_ca nor tls_name"),
        ({"tls_ca": "x" * 70_000}, "tls_ca of 70000 characters (limit 65536)"),
        ({"tls_name": "a b"}, "tls_name 'a b'"),
    ],
)
def test_rules_that_cannot_be_are_refused(tls: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidCamera) as caught:
        CameraSpec(name="gate", url="rtsps://camera/live", **tls)

    assert text in str(caught.value)


@pytest.mark.parametrize("url", ["rtsp://camera/live", "http://camera/live", "sim:gate", "/video.mp4"])
def test_a_source_without_tls_takes_no_rules(url: str) -> None:
    with pytest.raises(InvalidCamera, match="rtsps and https"):
        parse_source(CameraSpec(name="gate", url=url, tls_name="recorder"))


def test_a_camera_without_rules_has_the_usual_ones() -> None:
    url = parse_source(CameraSpec(name="gate", url="https://camera/live"))

    assert isinstance(url, NetworkUrl)
    assert url.tls == TlsRules()


def test_a_url_is_tested_by_the_same_rules(recorder: Recorder) -> None:
    without = probe.probe_url(recorder.url, QUICK)
    pinned = probe.probe_url(recorder.url, QUICK, TlsRules(certificate_sha256=recorder.digest))

    assert without.reason is SourceReason.TLS
    assert pinned.video is not None
    assert pinned.video.codec == "h264"


@pytest.fixture
def other_host(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a segment on another host than the recorder's, and the certificate there."""
    folder = tmp_path / "other"
    folder.mkdir()
    context, certificate = servers.make_certificate(folder, "IP:127.0.0.2")
    clip = footage.write(tmp_path / "segment.ts", replace(H264, container="mpegts")).read_bytes()
    replies = {"/a.ts": Reply(pieces=(clip,))}
    with servers.scripted_server(replies, host="127.0.0.2", tls=context) as server:
        yield f"{server.url}/a.ts", certificate


@pytest.fixture
def listing(tmp_path: Path, other_host: tuple[str, Path]) -> Iterator[Recorder]:
    """A recorder whose playlist names that segment."""
    context, certificate = servers.make_certificate(tmp_path, "DNS:recorder,IP:127.0.0.1")
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{other_host[0]}\n#EXT-X-ENDLIST\n"
    with servers.scripted_server({"/list.m3u8": Reply(pieces=(text.encode(),))}, tls=context) as server:
        yield Recorder(f"{server.url}/list.m3u8", certificate, lambda: len(server.requests))


def test_another_host_of_a_playlist_is_checked_by_the_usual_rules(
    listing: Recorder, other_host: tuple[str, Path]
) -> None:
    """Neither the camera's hash nor its name is that of another host."""
    config = replace(QUICK, ca_file=other_host[1])

    listing.open(config, tls_certificate_sha256=listing.digest)
    listing.open(config, tls_ca=listing.ca, tls_name="recorder")


def test_what_is_trusted_for_a_camera_is_not_for_another_host(listing: Recorder, other_host: tuple[str, Path]) -> None:
    with pytest.raises(SourceError) as caught:
        listing.open(tls_ca=listing.ca + other_host[1].read_text())

    assert (caught.value.reason, "127.0.0.2" in str(caught.value)) == (SourceReason.TLS, True)


def test_the_zone_of_an_address_is_no_part_of_what_a_certificate_names() -> None:
    assert client(TlsRules(), None).server_name("fe80::1%eth0") == "fe80::1"
    assert client(TlsRules(name="recorder"), None).server_name("fe80::1%eth0") == "recorder"
