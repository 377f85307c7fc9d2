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
from pipeline.network.tls import TlsRules
from pipeline.network.urls import NetworkUrl, parse_source
from pipeline.sources import probe
from pipeline.sources.demuxer import Demuxer
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

    def open(self, **tls: str) -> None:
        url = parse_source(CameraSpec(name="gate", url=self.url, **tls))
        assert isinstance(url, NetworkUrl)
        Demuxer(url, QUICK).close()


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
