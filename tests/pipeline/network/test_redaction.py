"""No known secret appears in the output, in any encoding."""

from __future__ import annotations

import base64
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
    ],
)
def test_keys_in_path_and_query_are_redacted_too(url: str) -> None:
    redactor = Redactor()
    redactor.remember(url)

    assert CANARY not in redactor.redact(f"channel 1: {CANARY}")
    assert redactor.redact("channel 1, user admin") == "channel 1, user admin"


@pytest.mark.parametrize("url", ["sim:gate?seed=7", "/films/film.mp4", "rtsp://camera/live", "http://[::1/", ""])
def test_without_a_secret_nothing_is_redacted(url: str) -> None:
    redactor = Redactor()
    redactor.remember(url)

    assert redactor.redact(f"{url} gate live 7") == f"{url} gate live 7"


def test_a_password_of_one_letter_does_not_make_all_texts_unreadable() -> None:
    redactor = Redactor()
    redactor.remember("rtsp://viewer:a@camera/live")

    assert redactor.redact("a camera") == "a camera"
