"""A device with ONVIF is asked for its streams: clock first, then the login for that clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.cameras import SourceError, SourceReason
from pipeline.network.http_auth import Credentials
from pipeline.network.http_post import PostAnswer
from pipeline.network.urls import NetworkUrl, parse
from pipeline.onvif import device, replies, stream_urls
from pipeline.onvif.replies import Profile
from pipeline.onvif.soap import Service, SoapClient
from tests.pipeline.onvif.camera import PASSWORD, OnvifCamera, envelope, fault, running


def _http(body: bytes, status: str = "200 OK", header: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _failure(camera: OnvifCamera, **login: str | None) -> SourceError:
    with running(camera), pytest.raises(SourceError) as caught:
        device.probe(camera.asked(**login))
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_a_camera_tells_its_streams_with_their_urls_sizes_and_rates() -> None:
    with running(OnvifCamera()) as camera:
        found = device.probe(camera.asked())

    assert (found.name, found.firmware) == ("ACME C-1", "V5.7.3")
    main, sub = found.streams
    assert main.profile == Profile(
        token="Profile_1", name="mainStream", codec="H264", width=2688, height=1520, fps=25, key_frames_every=50
    )
    assert main.url.url == "rtsp://127.0.0.1:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1"
    assert main.url.remark == ""
    assert (sub.profile.codec, sub.profile.width, sub.profile.fps, sub.profile.key_frames_every) == (
        "JPEG",
        640,
        5,
        None,
    )


def test_media2_is_asked_where_a_device_has_it_because_media_tells_nothing_of_h265() -> None:
    with running(OnvifCamera(has_media2=True)) as camera:
        (stream,) = device.probe(camera.asked()).streams

    assert stream.profile == Profile(
        token="Profile_1", name="mainStream", codec="H265", width=3840, height=2160, fps=12.5, key_frames_every=60
    )
    assert stream.url.url is not None
    assert ("/onvif/ver20/media", "GetStreamUri") in camera.heard


@pytest.mark.parametrize("answer", ["<tr2:GetProfilesResponse/>", fault("ActionNotSupported")])
def test_media_is_asked_where_media2_tells_no_profile(answer: str) -> None:
    camera = OnvifCamera(has_media2=True, answers={"GetProfiles": answer})

    _failure(camera)

    assert [path for path, operation in camera.heard if operation == "GetProfiles"] == [
        "/onvif/ver20/media",
        "/onvif/ver10/media",
    ]


@pytest.mark.parametrize("hours", [-30_000, 0, 9])
def test_the_login_is_made_for_the_devices_clock_which_is_read_first_and_without_it(hours: int) -> None:
    with running(OnvifCamera(clock_ahead=timedelta(hours=hours))) as camera:
        found = device.probe(camera.asked())

    assert camera.heard[0][1] == "GetSystemDateAndTime"
    assert "Security" not in camera.bodies[0]
    assert all("PasswordDigest" in body and PASSWORD not in body for body in camera.bodies[1:])
    assert found.clock_ahead_s == pytest.approx(hours * 3600, abs=5)


@pytest.mark.parametrize(
    "clock",
    [
        fault("NotAuthorized"),
        fault("ActionNotSupported"),
        "<tds:GetSystemDateAndTimeResponse/>",
        "<tt:UTCDateTime><tt:Date><tt:Year>0</tt:Year></tt:Date></tt:UTCDateTime>",
        "<tt:UTCDateTime><tt:Year>2026</tt:Year><tt:Month>99</tt:Month><tt:Day>1</tt:Day><tt:Hour>1</tt:Hour>"
        "<tt:Minute>1</tt:Minute><tt:Second>1</tt:Second></tt:UTCDateTime>",
    ],
)
def test_a_clock_that_cannot_be_read_is_taken_for_ours(clock: str) -> None:
    with running(OnvifCamera(answers={"GetSystemDateAndTime": clock})) as camera:
        found = device.probe(camera.asked())

    assert found.clock_ahead_s is None
    assert len(found.streams) == 2


def test_a_clock_that_may_not_be_read_without_a_login_is_taken_for_ours() -> None:
    with running(OnvifCamera(answers={"GetSystemDateAndTime": _http(b"", "403 Forbidden")})) as camera:
        assert device.probe(camera.asked()).clock_ahead_s is None


class _Poster:
    """Takes what is posted."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, is_logged_in: bool) -> PostAnswer:
        self.bodies.append(body)
        return PostAnswer(200, b"<Envelope/>")


@pytest.mark.parametrize(
    ("shown", "created"), [(datetime.max, b"9999-12-31T23:59:59Z"), (datetime.min, b"0001-01-01T00:00:")]
)
def test_a_login_is_made_for_a_clock_at_either_end_of_what_can_be_written(shown: datetime, created: bytes) -> None:
    poster = _Poster()
    client = SoapClient(poster)  # type: ignore[arg-type]
    client.log_in(Credentials("viewer", PASSWORD), shown.replace(tzinfo=UTC) - datetime.now(UTC))

    client.call(Service("device", "http://127.0.0.1/onvif/device_service"), "GetDeviceInformation")

    assert b"Created" in poster.bodies[0]
    assert b">" + created in poster.bodies[0]


def test_a_device_that_takes_http_digest_alone_gets_it() -> None:
    with running(OnvifCamera(wants_http_digest=True)) as camera:
        assert len(device.probe(camera.asked()).streams) == 2


def test_a_device_without_getservices_tells_its_media_service_by_getcapabilities() -> None:
    with running(OnvifCamera(answers={"GetServices": fault("ActionNotSupported")})) as camera:
        assert len(device.probe(camera.asked()).streams) == 2


@pytest.mark.parametrize("wants_http_digest", [False, True])
@pytest.mark.parametrize("login", [{"user": None}, {"password": "wrong"}, {"user": "other"}])
def test_a_login_that_is_missing_or_wrong_is_said_to_be_so(
    login: dict[str, str | None], wants_http_digest: bool
) -> None:
    error = _failure(OnvifCamera(wants_http_digest=wants_http_digest), **login)

    assert error.reason is SourceReason.UNAUTHORIZED
    assert "--user and --password-file" in str(error)


def test_behind_nat_the_host_that_was_asked_is_told_and_asked() -> None:
    """The device tells the addresses of its inner network, for its services and its streams."""
    services = (
        "<tds:GetServicesResponse><tds:Service><tds:Namespace>http://www.onvif.org/ver10/media/wsdl</tds:Namespace>"
        "<tds:XAddr>http://192.0.2.7/onvif/inner?a=1</tds:XAddr></tds:Service></tds:GetServicesResponse>"
    )
    camera = OnvifCamera(answers={"GetServices": services}, stream_url="rtsp://192.0.2.7:8554/live/{number}")
    with running(camera):
        stream = device.probe(camera.asked()).streams[0]

    assert ("/onvif/inner?a=1", "GetProfiles") in camera.heard
    assert stream.url.url == "rtsp://127.0.0.1:8554/live/1"
    assert "192.0.2.7" in stream.url.remark


@pytest.mark.parametrize("address", ["http://127.0.0.1:0/onvif/inner", "http://127.0.0.1:99999/onvif/inner"])
def test_a_service_at_a_port_that_is_none_is_asked_at_the_port_that_was_named(address: str) -> None:
    services = (
        "<tds:GetServicesResponse><tds:Service><tds:Namespace>http://www.onvif.org/ver10/media/wsdl</tds:Namespace>"
        f"<tds:XAddr>{address}</tds:XAddr></tds:Service></tds:GetServicesResponse>"
    )
    with running(OnvifCamera(answers={"GetServices": services})) as camera:
        assert device.probe(camera.asked()).streams


def test_a_service_without_an_address_is_none() -> None:
    services = (
        "<tds:GetServicesResponse><tds:Service><tds:Namespace>http://www.onvif.org/ver20/media/wsdl</tds:Namespace>"
        "<tds:XAddr/></tds:Service><tds:Service><tds:XAddr>http://127.0.0.1/other</tds:XAddr></tds:Service>"
        "</tds:GetServicesResponse>"
    )
    with running(OnvifCamera(answers={"GetServices": services})) as camera:
        assert device.probe(camera.asked()).streams

    assert {path for path, operation in camera.heard if operation == "GetProfiles"} == {"/onvif/ver10/media"}


@pytest.mark.parametrize("second", [59, 60, 61])
def test_a_clock_may_show_a_leap_second(second: int) -> None:
    text = (
        "<tds:GetSystemDateAndTimeResponse><tt:UTCDateTime><tt:Time><tt:Hour>23</tt:Hour><tt:Minute>59</tt:Minute>"
        f"<tt:Second>{second}</tt:Second></tt:Time><tt:Date><tt:Year>2016</tt:Year><tt:Month>12</tt:Month>"
        "<tt:Day>31</tt:Day></tt:Date></tt:UTCDateTime></tds:GetSystemDateAndTimeResponse>"
    )

    assert replies.utc_time(replies.parse(envelope(text))) == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("named", "url", "remark"),
    [
        ("rtsp://admin:pa55word@127.0.0.1/live", "rtsp://127.0.0.1/live", "holds a login, which is left out"),
        ("rtsp://127.0.0.1/user=admin_password=tlJwpbo6_channel=1.sdp", "rtsp://127.0.0.1/user=***", "of its own"),
        ("rtsp://127.0.0.1/live?password=abc&channel=1", "rtsp://127.0.0.1/live?password=***&channel=1", "of its own"),
        ("RTSP://127.0.0.1:554/live ", "rtsp://127.0.0.1:554/live", ""),
        ("file:///etc/passwd", None, "no stream of the network"),
        ("/etc/passwd", None, "no stream of the network"),
        ("gopher://127.0.0.1/", None, "no usable URL"),
        ("rtsp://admin:p@ss#1@127.0.0.1/live", None, "no usable URL"),
        ("rtsp://", None, "no usable URL"),
        ("", None, "names no URL"),
        ("rtsp://127.0.0.1/" + "x" * 9_000, None, None),
    ],
)
def test_a_stream_url_is_told_as_add_takes_it_or_why_it_cannot(named: str, url: str | None, remark: str | None) -> None:
    with running(OnvifCamera(stream_url=named)) as camera:
        found = device.probe(camera.asked()).streams[0].url

    if remark is not None:
        assert found.url == url
        assert remark in found.remark
    assert not any(secret in f"{found}" for secret in ("pa55word", "tlJwpbo6", "abc&", "p@ss"))
    assert len(f"{found}") < 4_000


@pytest.mark.parametrize(
    ("told", "remark"),
    [("fe80::1", ""), ("fe80::1%25eth1", ""), ("fe80::2", "names the host fe80::2, not fe80::1%eth0")],
)
def test_the_zone_of_an_address_makes_no_other_host(told: str, remark: str) -> None:
    """A device does not know what the interface is called that leads to it."""
    asked = parse("http://[fe80::1%eth0]/onvif/device_service")
    assert isinstance(asked, NetworkUrl)

    found = stream_urls.usable(f"rtsp://[{told}]:554/live", asked, frozenset())

    assert found.url == "rtsp://[fe80::1%eth0]:554/live"
    assert remark in found.remark
    assert bool(found.remark) == bool(remark)


@pytest.mark.parametrize("reason", ["Sender not Authorized", "NotAuthorised"])
def test_a_refused_login_without_a_code_is_known_by_its_text(reason: str) -> None:
    text = f"<Fault><faultcode>SOAP-ENV:Client</faultcode><faultstring>{reason}</faultstring></Fault>"
    error = _failure(OnvifCamera(answers={"GetDeviceInformation": text}))

    assert error.reason is SourceReason.UNAUTHORIZED


def test_a_stream_that_a_device_refuses_to_name_does_not_hide_the_others() -> None:
    with running(OnvifCamera(answers={"GetStreamUri": fault("NoProfile", "gone")})) as camera:
        streams = device.probe(camera.asked()).streams

    assert [stream.url.url for stream in streams] == [None, None]
    assert "gone" in streams[0].url.remark


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (_http(b"<html>Welcome</html>"), SourceReason.SERVER_ERROR, "no SOAP message"),
        (_http(b"\n<!DOCTYPE HTML><html>Welcome</html>"), SourceReason.SERVER_ERROR, "it is a web page"),
        (_http(b"<html>Forbidden</html>", "403 Forbidden"), SourceReason.FORBIDDEN, "it refuses this login, or this"),
        (_http(b"", "404 Not Found"), SourceReason.NOT_FOUND, "no ONVIF at this port"),
        (_http(b"<!DOCTYPE HTML><p>", "501 Unsupported method"), SourceReason.NOT_FOUND, "no ONVIF at this port"),
        (_http(b"", "302 Found", "Location: http://192.0.2.9/x\r\n"), SourceReason.REDIRECTED, "192.0.2.9"),
        (_http(b"", "307 T", "Location: http://127.0.0.1:1/x\r\n"), SourceReason.REDIRECTED, "not followed"),
        (_http(b"x" * (5 << 20)), SourceReason.TOO_LARGE, "4,194,304 bytes (limit)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<env", SourceReason.BROKE_OFF, "95 bytes before its end"),
        (b"RTSP/1.0 200 OK\r\n\r\n", SourceReason.BROKE_OFF, "not HTTP"),
        (
            _http(b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><Envelope>&b;</Envelope>'),
            SourceReason.SERVER_ERROR,
            "entities, which are refused",
        ),
        (
            _http('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><Envelope/>'.encode("utf-16")),
            SourceReason.SERVER_ERROR,
            "document type, which is refused",
        ),
        (_http(b"<Envelope>" + b"<a>" * 1_000_000), SourceReason.NOT_VIDEO, "offers no streams"),
    ],
)
def test_what_is_no_answer_is_told_as_what_it_is(answer: bytes, reason: SourceReason, says: str) -> None:
    operations = ("GetSystemDateAndTime", "GetDeviceInformation", "GetServices", "GetCapabilities")
    error = _failure(OnvifCamera(answers=dict.fromkeys(operations, answer)))

    assert (error.reason, says in str(error)) == (reason, True), str(error)


def test_a_device_that_answers_slowly_is_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "ANSWER_S", 0.05)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    camera = OnvifCamera(answers={"GetSystemDateAndTime": answer}, keeps_open=True)

    assert _failure(camera).reason is SourceReason.NO_ANSWER


def test_all_answers_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "ALL_ANSWERS_S", 0.0)

    assert "within 0 s (limit)" in str(_failure(OnvifCamera()))


def test_a_recorder_of_very_many_profiles_is_bounded() -> None:
    one = '<trt:Profiles token="t1"><tt:Name>n</tt:Name></trt:Profiles>'
    body = f"<trt:GetProfilesResponse>{one * 500}</trt:GetProfilesResponse>"
    with running(OnvifCamera(answers={"GetProfiles": body})) as camera:
        assert len(device.probe(camera.asked()).streams) == 64


def test_texts_and_numbers_of_a_hostile_device_are_bounded() -> None:
    body = (
        f'<trt:GetProfilesResponse><trt:Profiles token="{"t" * 9_000}1"><tt:Name>{"n" * 9_000}</tt:Name>'
        "<tt:VideoEncoderConfiguration><tt:Width>1e400</tt:Width><tt:Height>-5</tt:Height>"
        "<tt:FrameRateLimit>nan</tt:FrameRateLimit></tt:VideoEncoderConfiguration></trt:Profiles></trt:GetProfilesResponse>"
    )
    with running(OnvifCamera(answers={"GetProfiles": body, "GetStreamUri": envelope("").decode()})) as camera:
        profile = device.probe(camera.asked()).streams[0].profile

    assert profile == replace(Profile(token="t" * 256, name="n" * 256), codec=None)
