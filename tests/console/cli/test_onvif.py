"""`hermes cameras probe`: what an operator sees of a camera with ONVIF. For `discover` see the end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.console.running import run_here
from tests.pipeline.onvif.camera import PASSWORD, USER, OnvifCamera, running
from tests.pipeline.onvif.test_discovery import match, responder


@pytest.fixture
def login(tmp_path: Path) -> tuple[str, ...]:
    file = tmp_path / "secret"
    file.write_text(f"{PASSWORD}\n")
    return "--user", USER, "--password-file", str(file)


def test_the_streams_are_listed_with_the_url_that_add_takes(login: tuple[str, ...]) -> None:
    with running(OnvifCamera()) as camera:
        ended = run_here("cameras", "probe", f"127.0.0.1:{camera.port}", *login)

    assert ended.code == 0
    assert "ACME C-1 V5.7.3" in ended.out
    lines = ended.out.splitlines()
    at = lines.index("mainStream: H264, 2688x1520, 25 fps, a key frame every 50 frames")
    assert lines[at + 1].strip() == (
        "rtsp://127.0.0.1:554/Streaming/Channels/101?transportmode=unicast&profile=Profile_1"
    )
    assert "hermes cameras add NAME 'URL' --user USER --password-file FILE" in ended.err
    assert "warning" not in ended.err


def test_a_device_for_programs(login: tuple[str, ...]) -> None:
    with running(OnvifCamera()) as camera:
        ended = run_here("cameras", "probe", camera.url(), *login, "--json")

    described = json.loads(ended.out)
    assert (described["name"], described["firmware"]) == ("ACME C-1", "V5.7.3")
    assert abs(described["clock_ahead_s"]) < 5
    assert described["streams"][1] == {
        "profile": "Profile_2",
        "name": "subStream",
        "codec": "JPEG",
        "width": 640,
        "height": 360,
        "fps": 5,
        "key_frames_every": None,
        "url": "rtsp://127.0.0.1:554/Streaming/Channels/102?transportmode=unicast&profile=Profile_2",
        "remark": "",
    }


@pytest.mark.parametrize(("hours", "says"), [(-2, "behind"), (3, "ahead of")])
def test_a_clock_that_is_wrong_is_told(login: tuple[str, ...], hours: int, says: str) -> None:
    with running(OnvifCamera(clock_ahead=timedelta(hours=hours))) as camera:
        ended = run_here("cameras", "probe", camera.url(), *login)

    assert re.search(rf"warning: the device's clock is [\d,]+ s {says} this machine's", ended.err)


def test_a_remark_is_told_once(login: tuple[str, ...]) -> None:
    with running(OnvifCamera(stream_url="rtsp://192.0.2.7/live")) as camera:
        ended = run_here("cameras", "probe", camera.url(), *login)

    assert ended.err.count("warning: the device names the host 192.0.2.7, not 127.0.0.1") == 1
    assert "rtsp://127.0.0.1/live" in ended.out


def test_a_device_that_repeats_the_password_does_not_show_it(login: tuple[str, ...]) -> None:
    told = f"rtsp://127.0.0.1/live/{PASSWORD}/1"
    name = f"<tds:GetDeviceInformationResponse><tds:Model>{PASSWORD}</tds:Model></tds:GetDeviceInformationResponse>"
    camera = OnvifCamera(stream_url=told, answers={"GetDeviceInformation": name})
    with running(camera):
        shown = run_here("cameras", "probe", camera.url(), *login)
        for_programs = run_here("cameras", "probe", camera.url(), *login, "--json")

    assert "rtsp://127.0.0.1/live/***/1" in shown.out
    assert PASSWORD not in shown.out + shown.err + for_programs.out + for_programs.err


def test_control_characters_of_a_device_never_reach_the_terminal(login: tuple[str, ...]) -> None:
    name = "<tds:GetDeviceInformationResponse><tds:Model>\x9b2J[bold]x</tds:Model></tds:GetDeviceInformationResponse>"
    with running(OnvifCamera(answers={"GetDeviceInformation": name})) as camera:
        ended = run_here("cameras", "probe", camera.url(), *login)

    assert "\N{REPLACEMENT CHARACTER}2J[bold]x" in ended.out


@pytest.mark.parametrize(
    ("host", "code", "says"),
    [
        ("rtsp://10.0.0.1/live", 2, "write HOST, HOST:PORT or an http(s) URL"),
        ("/dev/video0", 2, "expected scheme://host"),
        ("10.0.0.1:99999", 2, "malformed host or port"),
        ("http://admin:a@b@10.0.0.1/", 2, "could be taken for its host"),
        ("10.0 .0.1", 2, "without spaces"),
        ("127.0.0.1:1", 1, "nothing listens on port 1"),
        ("[::1]:1", 1, "http://[::1]:1/onvif/device_service: nothing listens"),
        ("::1", 1, "http://[::1]/onvif/device_service: nothing listens"),
    ],
)
def test_a_host_that_cannot_be_asked_is_told_as_what_it_is(host: str, code: int, says: str) -> None:
    ended = run_here("cameras", "probe", host)

    assert (ended.code, says in ended.err) == (code, True), ended.err
    assert "a@b" not in ended.err


def test_a_wrong_login_fails_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("wrong-word")
    with running(OnvifCamera()) as camera:
        ended = run_here("cameras", "probe", camera.url(), "--user", USER, "--password-file", str(file))
        bare = run_here("cameras", "probe", camera.url(), "--password-file", str(file))

    assert (ended.code, "--user and --password-file" in ended.err) == (1, True)
    assert "wrong-word" not in ended.err
    assert (bare.code, "--password-file: it needs --user" in bare.err) == (2, True)


def test_certificates_are_for_https() -> None:
    ended = run_here("cameras", "probe", "10.0.0.1", "--tls-certificate-sha256", "a" * 64)

    assert (ended.code, "tls_… is for rtsps and https" in ended.err) == (2, True)


def test_discovered_devices_are_listed_and_given_to_programs() -> None:
    answer = match("urn:uuid:1", "http://10.0.0.18/onvif/device_service", "onvif://www.onvif.org/name/ACME")
    with responder([answer, match("urn:uuid:2", "")]):
        listed = run_here("cameras", "discover", "--interface", "lo", "--wait", "1")
        for_programs = run_here("cameras", "discover", "--interface", "lo", "--wait", "1", "--json")

    assert "http://10.0.0.18/onvif/device_service" in listed.out
    assert "it does not say where" in listed.out
    assert "hermes cameras probe ADDRESS" in listed.err
    assert json.loads(for_programs.out)[0]["urls"] == ["http://10.0.0.18/onvif/device_service"]


def test_discovery_needs_an_interface_and_says_which_there_are() -> None:
    missing = run_here("cameras", "discover")
    unknown = run_here("cameras", "discover", "--interface", "eth77")
    with responder([]):
        silent = run_here("cameras", "discover", "--interface", "lo", "--wait", "0.1")
        for_programs = run_here("cameras", "discover", "--interface", "lo", "--wait", "0.1", "--json")

    assert (missing.code, "--interface: name one of lo" in missing.err) == (2, True)
    assert (unknown.code, "'eth77' is no network interface: lo" in unknown.err) == (2, True)
    assert (silent.code, "no device answered on lo within 0.1 s" in silent.err) == (1, True)
    assert (for_programs.code, for_programs.out) == (1, "[]\n")


@pytest.mark.parametrize("host", ["", " "])
def test_a_host_that_is_empty_is_a_mistake_that_says_what_a_host_is(host: str) -> None:
    ended = run_here("cameras", "probe", host)

    assert (ended.code, ended.err) == (2, f"error: HOST {host!r}: write HOST, HOST:PORT or an http(s) URL\n")


def test_asking_devices_loads_neither_torch_nor_ray() -> None:
    code = "import sys, console.cli.local_onvif; sys.exit(bool({'torch', 'ray', 'av'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
