"""One parser of challenges for HTTP and RTSP: it reads what cameras send, and the best challenge is answered."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.network.http_auth import Challenge, Credentials, Login, parse_challenges

CREDENTIALS = Credentials("viewer", "se:cret")


def answer(*headers: str, method: str = "GET", target: str = "/live") -> str | None:
    """The answer to the challenges, None if none of them can be answered."""
    login = Login(CREDENTIALS)
    return login.header(method, target) if login.accept(headers) else None


def is_right(header: str, name: str = "md5", password: str = CREDENTIALS.password, method: str = "GET") -> bool:
    """Whether a server that knows the password takes the answer (RFC 7616, 3.4.1)."""
    if not header:
        return False
    pairs = (pair.groups() for pair in re.finditer(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,]+))', header))
    fields = {key: (quoted or plain or "").replace("\\", "") for key, quoted, plain in pairs}

    def hashed(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    secret = hashed(fields["username"], fields["realm"], password)
    if fields.get("algorithm", "").endswith("-sess"):
        secret = hashed(secret, fields["nonce"], fields["cnonce"])
    middle = [fields[key] for key in ("nc", "cnonce", "qop")] if "qop" in fields else []
    return fields["response"] == hashed(secret, fields["nonce"], *middle, hashed(method, fields["uri"]))


@pytest.mark.parametrize(
    ("header", "parameters"),
    [
        ('Digest realm="c", nonce="n"', {"realm": "c", "nonce": "n"}),
        ('Digest realm="a, b=\\"c\\"", nonce="n"', {"realm": 'a, b="c"', "nonce": "n"}),
        ('DIGEST Realm="c",NONCE="n",Algorithm=md5', {"realm": "c", "nonce": "n", "algorithm": "md5"}),
        ('Digest realm="c", nonce="n", opaque=, stale', {"realm": "c", "nonce": "n", "opaque": ""}),
        ('Digest realm="c", nonce="n", opaque="", domain=""', {"realm": "c", "nonce": "n", "opaque": "", "domain": ""}),
        ('Digest ,, realm="c",, nonce="n",', {"realm": "c", "nonce": "n"}),
        ('Digest realm = "c" nonce = "n"', {"realm": "c", "nonce": "n"}),
        ("Digest realm=IP Camera, nonce=n qop=auth", {"realm": "IP Camera", "nonce": "n", "qop": "auth"}),
        ('Digest realm="c", nonce="n"; qop="auth"', {"realm": "c", "nonce": "n", "qop": "auth"}),
        ('Digest realm="c", nonce="n', {"realm": "c", "nonce": "n"}),
    ],
)
def test_a_challenge_is_read_as_cameras_write_it(header: str, parameters: dict[str, str]) -> None:
    assert parse_challenges(header) == [Challenge("digest", parameters)]
    assert is_right(answer(header) or "")


@pytest.mark.parametrize(
    ("headers", "expected", "name"),
    [
        (['Basic realm="c"', 'Digest realm="c", nonce="n"'], "MD5", "md5"),
        (['Digest realm="c", nonce="n", Basic realm="d"'], "MD5", "md5"),
        (['Basic realm="d", Digest realm="c", nonce="n"'], "MD5", "md5"),
        (['Digest realm="c", nonce="m", algorithm=MD5, Digest realm="c", nonce="n", algorithm=SHA-256'], "SHA-256",
         "sha256"),
        (['Digest realm="c", nonce="n", algorithm=SHA-256', 'Digest realm="c", nonce="m"'], "SHA-256", "sha256"),
        (['Digest realm="c", nonce="n", algorithm=sha-256-sess, qop="auth"'], "SHA-256-sess", "sha256"),
        (['Digest realm="c", nonce="n", algorithm="MD5-Sess"'], "MD5-sess", "md5"),
        (['Digest realm="c", nonce="m", algorithm=FUTURE', 'Digest realm="c", nonce="n", qop="auth-int,AUTH"'], "MD5",
         "md5"),
        (["Negotiate", 'NTLM TlRM==', 'Digest realm="c", nonce="n"'], "MD5", "md5"),
    ],
)  # fmt: skip
def test_the_best_challenge_that_can_be_answered_is_answered(headers: list[str], expected: str, name: str) -> None:
    header = answer(*headers) or ""

    assert 'nonce="n"' in header
    assert (re.search(r"algorithm=([\w-]+)", header) or ["", "MD5"])[1] == expected
    assert is_right(header, name)
    assert not is_right(header, name, password="another")


@pytest.mark.parametrize(
    "header", ["", "=,=", "Bearer", 'Digest realm="c"', 'Digest nonce="n", algorithm=FUTURE', 'Digest nonce=n qop="x"']
)
def test_a_challenge_that_cannot_be_answered_has_no_answer(header: str) -> None:
    assert answer(header) is None


def test_each_answer_to_a_nonce_has_the_next_number() -> None:
    login = Login(CREDENTIALS)
    login.accept(['Digest realm="c", nonce="n", qop="auth"'])

    headers = [login.header("DESCRIBE", "rtsp://camera/live") or "" for _ in range(2)]

    assert ["nc=00000001" in headers[0], "nc=00000002" in headers[1]] == [True, True]
    assert all(is_right(header, method="DESCRIBE") for header in headers)


@given(st.text(max_size=80) | st.from_regex(r'Digest( ?[a-z]+ ?=? ?"?[a-z ]*"?,?){0,6}', fullmatch=True))
def test_whatever_a_server_sends_is_answered_or_not(header: str) -> None:
    found = answer(header)

    assert found is None or found.startswith(("Basic ", "Digest "))
