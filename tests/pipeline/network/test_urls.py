"""Which URLs a camera may have; no secret of a URL is ever shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cameras import InvalidCamera
from pipeline.network.urls import FileUrl, NetworkUrl, SimUrl, parse, redact, scrub

CANARY = "c4n4ry"


@pytest.mark.parametrize("path", ["/video/a.mp4", "file:/video/a.mp4", "file:///video/a.mp4", "FILE:/video/a.mp4"])
def test_a_path_is_a_file(path: str) -> None:
    assert parse(path) == FileUrl(Path("/video/a.mp4"))


@pytest.mark.parametrize("path", ["12:30 street.mp4", "subfile,,start,0,end,9,,:/a.mp4", "./concat:a.mp4"])
def test_a_relative_path_of_any_name_is_relative_to_the_working_directory(path: str) -> None:
    assert parse(path) == FileUrl(Path.cwd() / path)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https", "RTSP"])
def test_a_network_url_is_kept_whole(scheme: str) -> None:
    url = f"{scheme}://user:pw@camera.example:8554/live?channel=1"

    assert parse(url) == NetworkUrl(url, scheme.lower(), "camera.example", 8554)


def test_a_simulated_camera_takes_its_seed_from_its_url_or_its_name() -> None:
    assert parse("sim:gate?seed=7&start=1600000000.5&gap=2&width=320&height=180") == SimUrl(
        name="gate", seed=7, start_s=1_600_000_000.5, gap_s=2.0, width=320, height=180
    )
    assert parse("sim:gate") == parse("sim:gate")
    assert parse("sim:gate") != parse("sim:yard")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "0 characters"),
        ("rtsp://" + "x" * 3000, "3007 characters"),
        ("gopher://old/video", "'gopher'"),
        ("concat:/a.mp4|/etc/passwd", "'concat'"),
        ("pipe:0", "'pipe'"),
        ("data:video/mp4;base64,AAAA", "'data'"),
        ("rtsp:///nohost", "host"),
        ("rtsp:camera/live", "scheme://host"),
        ("http://camera:99999/", "port"),
        ("http://camera\\@evil/", "backslash"),
        ("http://cam era/", "spaces"),
        ("http://camera/\r\nHost: x", "spaces"),
        ("http://[::1/", "malformed"),
        ("file://host/share", "not a local path"),
        ("sim:", "sim:NAME"),
        ("sim:a/b", "sim:NAME"),
        ("sim:a?colour=red", "'colour'"),
        ("sim:a?seed=seven", "seed is 'seven'"),
        ("sim:a?seed=1&seed=2", "twice"),
        ("sim:a?width=100000", "16 to 4096"),
        ("sim:a?gap=nan", "gap is 'nan'"),
    ],
)
def test_any_other_url_is_refused_with_its_fault(url: str, text: str) -> None:
    with pytest.raises(InvalidCamera) as caught:
        parse(url)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera/live", "rtsp://camera/live"),
        ("rtsp://u:p@camera:554/live?key=v&sub=1#f", "rtsp://camera:554/live?key=***&sub=***"),
        ("rtsp://u:p@ss@camera/live", "rtsp://camera/live"),
        ("rtsp://camera/user=admin&password=x&channel=1.sdp", "rtsp://camera/user=***&password=***&channel=***"),
        ("http://token@camera", "http://camera"),
        ("sim:gate?seed=7", "sim:gate?seed=7"),
        ("/video/a=b.mp4", "/video/a=b.mp4"),
    ],
)
def test_a_redacted_url_has_no_credentials_and_no_values(url: str, shown: str) -> None:
    assert redact(url) == shown


PASSWORDS = st.text(min_size=1, max_size=12).map(lambda text: f"{CANARY}{text}{CANARY}")


@given(user=PASSWORDS, password=PASSWORDS, value=PASSWORDS)
def test_no_secret_is_shown_in_any_encoding(user: str, password: str, value: str) -> None:
    url = f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@camera/live?key={quote(value, safe='')}"
    text = f"libav: cannot open {url}; user {user} password {password}, key {value}, {quote(password, safe='')}"

    assert CANARY not in redact(url)
    assert CANARY not in scrub(text, url)
    assert "libav: cannot open rtsp://camera/live?key=***" in scrub(text, url)


@given(password=st.text(max_size=12))
def test_an_unquoted_password_is_not_shown_either(password: str) -> None:
    url = f"rtsp://admin:{CANARY}{password}{CANARY}@camera/live"

    assert CANARY not in redact(url)
    assert CANARY not in error_of(url)


def test_a_forgotten_scheme_does_not_show_the_password() -> None:
    assert CANARY not in error_of(f"admin:{CANARY}@camera/live")
    assert CANARY not in error_of(f"//admin:{CANARY}@camera/live")


def error_of(url: str) -> str:
    """The message of the error when the URL is parsed, empty for a valid URL."""
    try:
        parse(url)
    except InvalidCamera as error:
        return str(error)
    return ""
