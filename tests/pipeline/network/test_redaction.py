"""No known secret appears in the output, in any encoding."""

from __future__ import annotations

import base64
import html
import json
import sys
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.network.redaction import Redactor

CANARY = "c4n4ry"


@given(password=st.text(max_size=12).map(lambda text: f"{CANARY}{text}{CANARY}"))
def test_a_password_is_redacted_in_every_encoding(password: str) -> None:
    redactor = Redactor()
    redactor.remember(f"rtsp://viewer:{quote(password, safe='')}@camera/live")
    basic = base64.b64encode(f"viewer:{password}".encode()).decode()

    for form in (password, quote(password), quote(password, safe=""), base64.b64encode(password.encode()).decode()):
        assert CANARY not in redactor.redact(f"error: {form}, sorry")
        assert form not in redactor.redact(f"error: {form}, sorry")
    assert basic.rstrip("=") not in redactor.redact(f"Authorization: Basic {basic}")


@pytest.mark.parametrize(
    "url",
    [
        f"http://camera/live?token={CANARY}",
        f"http://camera/live?channel=1&Password={CANARY}",
        f"rtsp://camera/user=admin&password={CANARY}&channel=1.sdp",
        f"http://{CANARY}:@camera/live?apikey={CANARY}",
        f"rtsp://viewer:{CANARY}@[::1/live",
        f"rtsp://viewer@[::1/live?channel=1&token={CANARY}",
    ],
)
def test_keys_in_path_and_query_are_redacted_too(url: str) -> None:
    redactor = Redactor()
    redactor.remember(url)

    assert CANARY not in redactor.redact(f"channel 1: {CANARY}")
    assert redactor.redact("channel 1, user admin") == "channel 1, user admin"


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        *((f"rtsp://viewer:{text}{CANARY}@camera/live", f"{text}{CANARY}") for text in ("12#", "12/", "a@", "[")),
        (f"http://camera/live?token=a+{CANARY}", f"a+{CANARY}"),
    ],
)
def test_a_secret_that_is_not_escaped_is_redacted_as_it_was_written(url: str, secret: str) -> None:
    redactor = Redactor()
    redactor.remember(url)

    assert CANARY not in redactor.redact(f"channel 1: {secret}")


@pytest.mark.parametrize("url", ["sim:gate?seed=7", "/films/film.mp4", "rtsp://camera/live", "http://[::1/", ""])
def test_without_a_secret_nothing_is_redacted(url: str) -> None:
    redactor = Redactor()
    redactor.remember(url)

    assert redactor.redact(f"{url} gate live 7") == f"{url} gate live 7"


def test_a_password_of_one_letter_does_not_make_all_texts_unreadable() -> None:
    redactor = Redactor()
    redactor.remember("rtsp://viewer:a@camera/live")

    assert redactor.redact("a camera") == "a camera"


def url_of(number: int) -> str:
    return f"rtsp://viewer:camera-password-{number:05d}@camera-{number}/live"


def lines_run(action: Callable[[], object]) -> int:
    """How many lines of Python the action runs: its cost, whatever the machine."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def redactor_of(num_cameras: int) -> Redactor:
    redactor = Redactor()
    for number in range(num_cameras):
        redactor.remember(url_of(number))
    return redactor


def test_the_cost_of_one_more_camera_does_not_grow_with_the_number_of_cameras() -> None:
    few, many = redactor_of(10), redactor_of(400)

    assert lines_run(lambda: many.remember(url_of(9_998))) <= 1.1 * lines_run(lambda: few.remember(url_of(9_999)))


def test_the_cost_of_a_line_does_not_grow_with_the_number_of_cameras() -> None:
    few, many = redactor_of(10), redactor_of(400)
    line = "cannot open rtsp://viewer:camera-password-00003@camera: camera refused, camera tried again"

    assert many.redact(line) == line.replace("camera-password-00003", "***")
    assert lines_run(lambda: many.redact(line)) <= 1.1 * lines_run(lambda: few.redact(line))


def test_the_first_camera_of_ten_thousand_is_not_forgotten() -> None:
    redactor = redactor_of(10_000)

    assert redactor.redact("camera-password-00000, camera-password-09999") == "***, ***"


def test_the_memory_of_removed_cameras_is_bounded_and_that_of_others_stays() -> None:
    redactor = redactor_of(1)
    sizes = []
    for number in range(1, 3_000):
        redactor.remember(url_of(number))
        redactor.forget(url_of(number))
        sizes.append(len(redactor))

    assert sizes[-1] == sizes[1_000]
    assert redactor.redact("camera-password-00000, camera-password-00001") == "***, camera-password-00001"


def test_the_secret_of_a_camera_that_was_just_removed_is_still_redacted() -> None:
    redactor = redactor_of(1)
    redactor.forget(url_of(0))

    assert redactor.redact("late: camera-password-00000") == "late: ***"


def test_a_secret_of_two_cameras_stays_while_one_of_them_is_there() -> None:
    redactor = Redactor()
    for _ in range(2):
        redactor.remember(url_of(0))
    redactor.forget(url_of(0))
    for number in range(1, 1_500):
        redactor.remember(url_of(number))
        redactor.forget(url_of(number))

    assert redactor.redact("camera-password-00000") == "***"


def test_nothing_is_left_of_secrets_that_overlap() -> None:
    redactor = Redactor()
    for password in ("first-half", "half-second", "half-s"):
        redactor.remember(f"rtsp://viewer:{password}@camera/live")

    assert redactor.redact("<first-half-second> half-stop") == "<***> ***top"


@pytest.mark.parametrize("password", ['quo"te\\s', "amp&<er>", "um\u00e4laut!", "line\nend"])
def test_a_password_is_redacted_in_json_in_python_and_in_html(password: str) -> None:
    redactor = Redactor()
    redactor.remember(f"rtsp://viewer:{quote(password, safe='')}@camera/live")
    texts = (json.dumps(password)[1:-1], repr(password)[1:-1], html.escape(password), quote(password, safe="").lower())
    assert [redactor.redact(f"<{text}>") for text in texts] == ["<***>"] * 4
