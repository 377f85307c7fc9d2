"""A camera as the configuration names it: its password may lie elsewhere, in a variable or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from pipeline import urls
from pipeline.cameras import CameraError

KEYS = ("user", "password", "password_file")


class InvalidEntry(Exception):
    """A value of a camera's entry cannot be used; `key` is which."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def with_credentials(entry: Mapping[str, object]) -> dict[str, object]:
    """The entry with user and password, from its own keys, inside its URL. Raises InvalidEntry."""
    given = {key: str(entry[key]) for key in KEYS if key in entry}
    rest = {key: value for key, value in entry.items() if key not in KEYS}
    if not given:
        return rest
    if "user" not in given:
        raise InvalidEntry(next(iter(given)), "it needs the key user beside it")
    if "password" in given and "password_file" in given:
        raise InvalidEntry("password_file", "the key password stands there too: which of them?")
    password = given["password"] if "password" in given else _read(given.get("password_file"))
    return rest | {"url": _joined(str(entry.get("url", "")), given["user"], password)}


def holds_credentials(entry: Mapping[str, object]) -> bool:
    """Whether a user or a password stands in the URL itself, as it was written, and in no variable."""
    userinfo, at, _ = str(entry.get("url", "")).partition("://")[2].rpartition("@")
    return bool(at) and "${" not in userinfo


def _read(name: str | None) -> str:
    if name is None:
        return ""
    try:
        return Path(name).expanduser().read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise InvalidEntry("password_file", f"{name!r}: {why}") from None


def _joined(url: str, user: str, password: str) -> str:
    try:
        parsed = urls.parse(url)
    except CameraError as error:
        raise InvalidEntry("url", str(error)) from None
    if not isinstance(parsed, urls.NetworkUrl):
        raise InvalidEntry("user", "only a camera on the network takes one")
    if urls.credentials(url) is not None:
        raise InvalidEntry("user", "the URL holds a user already")
    scheme, _, rest = url.partition("://")
    userinfo = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{scheme}://{userinfo}@{rest}"
