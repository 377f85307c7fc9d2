"""Which URLs a camera may have; no secret of a URL is ever shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cameras import InvalidCamera
from pipeline.network.url_redaction import redact, scrub
from pipeline.network.urls import FileUrl, NetworkUrl, SimUrl, parse, source_of

CANARY = "c4n4ry"


@pytest.mark.parametrize("path", ["/video/a.mp4", "file:/video/a.mp4", "file:///video/a.mp4", "FILE:/video/a.mp4"])
def test_a_path_is_a_file(path: str) -> None:
    assert parse(path) == FileUrl(Path("/video/a.mp4"))


@pytest.mark.parametrize("path", ["12:30 street.mp4", "subfile,,start,0,end,9,,:/a.mp4", "./concat:a.mp4"])
def test_a_relative_path_of_any_name_is_relative_to_the_working_directory(path: str) -> None:
    assert parse(path) == FileUrl(Path.cwd() / path)


@pytest.mark.parametrize(
    "url",
    [
        f" rtsp://u:{CANARY}@camera/1",
        f'"rtsp://u:{CANARY}@camera/1"',
        f"\u00a0RTSPS://u:{CANARY}@camera/1",
        f"rtsp//u:{CANARY}@camera/1",
        f"http;//u:{CANARY}@camera/1",
        f"file:rtsp://u:{CANARY}@camera/1",
    ],
)
def test_a_mistyped_network_url_is_no_path_because_paths_are_shown(url: str) -> None:
    with pytest.raises(InvalidCamera, match="neither a local path nor a network URL") as caught:
        parse(url)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("path", ["rtsp/a.mp4", "rtsp-camera.mp4", "a//b.mp4", "httpd//a.mp4"])
def test_a_path_that_begins_like_a_scheme_is_a_path(path: str) -> None:
    assert isinstance(parse(path), FileUrl)


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
        ("rtsp://u:p@camera:554/live?key=v&sub=1#f", "rtsp://camera:554/live?key=***&sub=1"),
        ("rtsp://u:p@ss@camera/live", "rtsp://camera/live"),
        ("rtsp://admin:secret", "rtsp://admin:***"),
        ("rtsp://admin:secret/live", "rtsp://admin:***/live"),
        ("rtsp://[::1]:8554/live", "rtsp://[::1]:8554/live"),
        ("rtsp://[::1]/live", "rtsp://[::1]/live"),
        ("rtsp://camera/user=admin&password=x&channel=1.sdp", "rtsp://camera/user=***&password=***&channel=1.sdp"),
        ("http://token@camera", "http://camera"),
        ("rtsp://nvr/cam/realmonitor?channel=2&subtype=0", "rtsp://nvr/cam/realmonitor?channel=2&subtype=0"),
        ("rtsp://nvr/cam?channel=20001&pin=123&code=7", "rtsp://nvr/cam?channel=***&pin=***&code=***"),
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


def test_a_short_value_is_not_masked_inside_of_words_and_numbers() -> None:
    url = "rtsp://a:bc@10.0.0.1/live?channel=1&x=on"

    assert scrub(f"{redact(url)}: no connection within 10 s", url) == (
        "rtsp://10.0.0.1/live?channel=1&x=***: no connection within 10 s"
    )


@given(password=st.text(max_size=12))
def test_an_unquoted_password_is_not_shown_either(password: str) -> None:
    url = f"rtsp://admin:{CANARY}{password}{CANARY}@camera/live"

    assert CANARY not in redact(url)
    assert CANARY not in error_of(url)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
@pytest.mark.parametrize(
    "login",
    ["admin:{}@{}", "admin:12#{}", "admin:12/{}", "admin:12?{}", "admin:{}[1", "admin:{}]", "admin:a@{}/b", "us/er:{}"],
)
@pytest.mark.parametrize("rest", ["camera/live", "10.0.0.1:554/live"])
def test_a_login_that_could_be_taken_for_the_host_is_refused_and_the_message_says_how_to_write_it(
    scheme: str, login: str, rest: str
) -> None:
    message = error_of(f"{scheme}://{login.replace('{}', CANARY)}@{rest}")

    assert f"{scheme}://{rest}" in message
    assert "write @ as %40, # as %23, / as %2F, ? as %3F, [ as %5B" in message
    assert "--password-file" in message
    assert CANARY not in message


@pytest.mark.parametrize("path", ["a@b", "shot?mail=a@b"])
def test_an_at_sign_behind_the_host_is_taken_escaped_where_it_could_end_a_login(path: str) -> None:
    """user "camera", password "8080/a": nothing in the URL tells that this is not meant."""
    assert "an @ behind the host as %40 too" in error_of(f"http://camera:8080/{path}")
    assert parse(f"http://camera:8080/{path.replace('@', '%40')}")
    assert parse(f"http://camera/{path}")


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://10.0.0.1:554/user=admin&password=a@b&channel=1",
        "http://admin:pw@10.0.0.1/live@2",
        "http://[fe80::1]:80/live@2",
        "http://camera/live@2?to=a@b",
        f"rtsp://admin:{quote('@#/?[]:%', safe='')}@camera/live",
    ],
)
def test_an_at_sign_that_cannot_be_of_a_login_is_kept(url: str) -> None:
    parsed = parse(url)

    assert isinstance(parsed, NetworkUrl)
    assert parsed.url == url


@pytest.mark.parametrize(
    ("pasted", "url"),
    [
        ("rtsp://camera/live \n", "rtsp://camera/live"),
        ("RTSP://camera/live", "RTSP://camera/live"),
        ("rtsp://camera/live#backchannel=0#media=video", "rtsp://camera/live"),
        ("rtsp://admin@camera/live", "rtsp://admin@camera/live"),
        ("rtsp://admin:@camera/live", "rtsp://admin:@camera/live"),
    ],
)
def test_what_people_paste_with_a_url_is_left_out(pasted: str, url: str) -> None:
    assert parse(pasted) == NetworkUrl(url, "rtsp", "camera")


@pytest.mark.parametrize("zone", ["%lo", "%25lo"])
def test_an_ipv6_address_keeps_its_zone(zone: str) -> None:
    assert parse(f"rtsp://[fe80::1{zone}]:554/live") == NetworkUrl(
        f"rtsp://[fe80::1{zone}]:554/live", "rtsp", "fe80::1%lo", 554
    )


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


HOSTS = st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z0-9]", fullmatch=True)
PARTS = st.from_regex(r"(/[a-zA-Z0-9_.-]{1,8}){0,3}(\?channel=[0-9]{1,3})?", fullmatch=True)
LOGINS = st.from_regex(rf"{CANARY}[a-z0-9]{{0,5}}", fullmatch=True)
SCHEMES = st.sampled_from([("rtsp", 554), ("rtsps", 322), ("http", 80), ("https", 443)])


@given(scheme=SCHEMES, host=HOSTS, rest=PARTS, login=LOGINS)
def test_neither_login_nor_spelling_changes_the_source(
    scheme: tuple[str, int], host: str, rest: str, login: str
) -> None:
    name, port = scheme
    source = source_of(f"{name}://{host}{rest}")
    query = f"{'&' if '?' in rest else '?'}user=u&password={login}&token={login}"

    assert source_of(f"{name.upper()}://{login}:{login}@{host.upper()}:{port}{rest}{query}#{login}") == source
    assert CANARY not in source_of(f"{name}://{login}:{login}@{host}{rest}{query}")


@given(
    scheme=SCHEMES,
    one=st.tuples(HOSTS, st.integers(1, 65_535), PARTS),
    other=st.tuples(HOSTS, st.integers(1, 65_535), PARTS),
)
def test_another_host_port_path_or_query_is_another_source(
    scheme: tuple[str, int], one: tuple[str, int, str], other: tuple[str, int, str]
) -> None:
    urls = [f"{scheme[0]}://{host}:{port}{rest or '/'}" for host, port, rest in (one, other)]

    assert (source_of(urls[0]) == source_of(urls[1])) == (urls[0].replace("/?", "?") == urls[1].replace("/?", "?"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rtsp://h/user=a&password=b&channel=1.sdp", "rtsp://h/user=a&password=c&channel=1.sdp"),
        ("http://h/a?password=b&channel=1", "http://h/a?channel=1&password=c"),
        ("rtsp://[FE80::1]/a", "rtsp://[fe80::1]:554/a"),
        ("sim:gate?seed=7&gap=2", "sim:gate?gap=2.0&seed=7"),
        ("sim:gate", "sim:gate?width=640"),
    ],
)
def test_these_are_one_source(one: str, other: str) -> None:
    assert source_of(one) == source_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rtsp://h/user=a&channel=1.sdp", "rtsp://h/user=a&channel=2.sdp"),
        ("http://h/a?key=front", "http://h/a?key=back"),
        ("rtsp://h/a", "rtsp://h/A"),
        ("sim:gate?seed=7", "sim:yard?seed=7"),
        ("sim:gate?seed=7", "sim:gate?seed=8"),
        ("/a.mp4", "/b.mp4"),
        ("/a", "http://h/a"),
    ],
)
def test_these_are_two_sources(one: str, other: str) -> None:
    assert source_of(one) != source_of(other)


def test_a_file_is_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    (tmp_path / "link.mp4").symlink_to("film.mp4")

    assert source_of(f"{tmp_path}/link.mp4") == source_of(f"file://{tmp_path}/x/../film.mp4")
    assert source_of(f"{tmp_path}/link.mp4") == f"file:{(tmp_path / 'film.mp4').resolve()}"
