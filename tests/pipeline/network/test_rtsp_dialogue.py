"""Cameras that follow RTSP loosely are played like any other, and every one is told when it is left."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.cameras import SourceError, SourceReason
from pipeline.network import rtsp_urls
from tests.pipeline import rtsp_camera
from tests.pipeline.network.test_http_auth import CREDENTIALS, is_right
from tests.pipeline.playing import QUICK, play
from tests.pipeline.rtsp_camera import AUDIO, METADATA, RtspCamera, rtp_packet, usual_packets

FAST = replace(QUICK, sample_fps=8)
LOGIN = f"{CREDENTIALS.user}:{CREDENTIALS.password.replace(':', '%3A')}@"
REFUSED = "RTSP/1.0 {} Refused\r\n\r\n"


def plays(camera: RtspCamera, *, login: str = "", max_samples: int = 2) -> list[str]:
    """Plays the camera; returns the notes."""
    with rtsp_camera.running(camera) as url:
        played = play(url.replace("://", f"://{login}"), config=FAST, max_samples=max_samples)
    assert len(played.samples) == max_samples
    return played.notes


def refusal(camera: RtspCamera, *, login: str = "") -> SourceError:
    with rtsp_camera.running(camera) as url, pytest.raises(SourceError) as caught:
        play(url.replace("://", f"://{login}"))
    return caught.value


def digest_check(name: str) -> Callable[[str, str, str], bool]:
    """A camera that knows the password, and expects the URI of the request in the answer."""
    return lambda method, uri, header: f'uri="{uri}"' in header and is_right(header, name, method=method)


@pytest.mark.parametrize(
    ("challenges", "name"),
    [
        (('Digest realm="c", nonce="n"',), "md5"),
        (('Digest realm="c", nonce="n", stale, opaque=""',), "md5"),
        (('Digest realm="c", nonce="n", algorithm=SHA-256',), "sha256"),
        (('Digest realm="c", nonce="n", algorithm=MD5, qop="auth"', 'Digest realm="c", nonce="n", algorithm=SHA-256, '
          'qop="auth"'), "sha256"),
        (('Basic realm="c", DIGEST Realm=c,, NONCE="n", algorithm=MD5-sess, qop="AUTH"',), "md5"),
    ],
)  # fmt: skip
def test_a_login_is_answered(challenges: tuple[str, ...], name: str) -> None:
    camera = RtspCamera(challenges=challenges, is_authorized=digest_check(name))

    plays(camera, login=LOGIN)

    assert not any(CREDENTIALS.password in request for request in camera.requests)
    assert camera.methods()[:3] == ["OPTIONS", "OPTIONS", "DESCRIBE"]  # one challenge for all requests


def test_a_nonce_that_has_expired_is_replaced() -> None:
    camera = RtspCamera(challenges=('Digest realm="c", nonce="n1", qop="auth"',))

    def is_authorized(method: str, uri: str, header: str) -> bool:
        if method == "SETUP" and '"n1"' in header:
            camera.challenges = ('Digest realm="c", nonce="n2", qop="auth", stale=true',)
            return False
        return is_right(header, method=method)

    camera.is_authorized = is_authorized

    plays(camera, login=LOGIN)


def test_a_wrong_password_is_sent_once() -> None:
    camera = RtspCamera(challenges=('Digest realm="c", nonce="n"',), is_authorized=digest_check("md5"))

    refused = refusal(camera, login="viewer:another@")

    assert refused.reason is SourceReason.UNAUTHORIZED
    assert "--user and --password-file" in str(refused)
    assert sum("Authorization" in request for request in camera.requests) == 1


def test_a_login_of_an_unknown_kind_has_its_reason() -> None:
    refused = refusal(RtspCamera(challenges=("Bearer",), is_authorized=lambda *_: False), login=LOGIN)

    assert refused.reason is SourceReason.UNAUTHORIZED
    assert "no login by Digest (MD5, SHA-256) or Basic" in str(refused)


def test_a_camera_that_hangs_up_after_its_challenge_gets_another_connection() -> None:
    camera = RtspCamera(
        challenges=('Digest realm="c", nonce="n"',),
        is_authorized=lambda method, uri, header: method == "OPTIONS" or is_right(header, method=method),
        hangs_up_after="DESCRIBE",
    )

    plays(camera, login=LOGIN)

    assert camera.methods()[:3] == ["OPTIONS", "DESCRIBE", "DESCRIBE"]


@pytest.mark.parametrize("status", [400, 404, 461])
@pytest.mark.parametrize("media", [METADATA, AUDIO, METADATA + AUDIO])
def test_the_video_plays_although_the_set_up_of_another_track_fails(status: int, media: str) -> None:
    def set_up(request: str) -> str | None:
        return None if "track0" in request else REFUSED.format(status)

    camera = RtspCamera(hooks={"SETUP": set_up}, more_media=media)

    assert plays(camera) == []


@pytest.mark.parametrize("status", [400, 405, 501, 551])
def test_a_camera_without_options_plays(status: int) -> None:
    plays(RtspCamera(hooks={"OPTIONS": lambda _: REFUSED.format(status)}))


@pytest.mark.parametrize(
    "session",
    ["42;timeout=0", "42; Timeout = 60", "42;timeout=-1", "42;timeout=1", "42;timeout=99999999999", "42 ; timeout=x"],
)
def test_a_session_with_an_odd_time_limit_plays(session: str) -> None:
    camera = RtspCamera(session=session)

    plays(camera, max_samples=4)

    assert all("\r\nSession: 42\r\n" in request for request in camera.requests if request.startswith("PLAY"))
    assert len(camera.requests) < 12  # no flood of keep-alives


@pytest.mark.parametrize("channels", ["1-0", "2-3", "5-4", "8-9"])
def test_the_channels_of_the_camera_are_followed(channels: str) -> None:
    plays(RtspCamera(channels=channels))


def test_a_camera_of_one_session_can_be_opened_again_at_once() -> None:
    """The packets that it sends meanwhile do not reset the connection before it has read the TEARDOWN."""
    camera = RtspCamera(max_sessions=1, pictures=rtsp_camera.h264_pictures(40, (640, 480)), fps=200)

    with rtsp_camera.running(camera) as url:
        for _ in range(3):
            assert len(play(url, max_samples=1).samples) == 1

    assert camera.methods().count("TEARDOWN") == 3


@pytest.mark.parametrize("method", ["PLAY", "DESCRIBE"])
def test_a_session_is_ended_although_the_camera_refuses_to_play(method: str) -> None:
    camera = RtspCamera(hooks={method: lambda _: REFUSED.format(455)}, max_sessions=1)

    refusal(camera)

    assert camera.open_sessions == 0


def test_the_camera_hears_the_host_and_port_that_the_operator_wrote() -> None:
    camera = RtspCamera(challenges=('Digest realm="c", nonce="n"',), is_authorized=digest_check("md5"))

    plays(camera, login=LOGIN)

    uris = {re.split(" ", request)[1] for request in camera.requests}
    assert all(uri.startswith(f"rtsp://127.0.0.1:{camera.port}/live") for uri in uris), uris


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("rtsp://u:p@camera/live", "rtsp://camera"),
        ("rtsps://camera:322/live", "rtsps://camera:322"),
        ("rtsp://[fe80::1%25eth0]:8554/live", "rtsp://[fe80::1]:8554"),
    ],
)
def test_a_port_is_heard_only_if_it_was_written_and_a_zone_never(url: str, base: str) -> None:
    assert rtsp_urls.base_of(url) == base


def test_of_two_senders_on_one_channel_one_is_followed_and_the_other_is_noted() -> None:
    def packets(camera: RtspCamera, nals: list[bytes], time: int) -> list[bytes]:
        own = usual_packets(camera, nals, time)
        return [*own, rtp_packet(nals[-1], 9_000 + len(camera.requests), time + 77, ssrc=9)]

    notes = plays(RtspCamera(packets=packets), max_samples=6)

    assert notes == ["two streams come on one channel: one of them is followed"]


def test_a_jpeg_that_is_too_large_for_rtp_has_its_reason() -> None:
    def packets(camera: RtspCamera, nals: list[bytes], time: int) -> list[bytes]:
        return [rtp_packet(bytes(4) + b"\1\x50\0\0" + bytes(100), next(camera.numbers), time, kind=26)]

    refused = refusal(RtspCamera(video="m=video 0 RTP/AVP 26\r\na=control:track0\r\n", packets=packets))

    assert refused.reason is SourceReason.TOO_LARGE
    assert "2040 pixels" in str(refused)
