"""A camera's entry in the configuration: user and password stand beside its URL, or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from pipeline.cameras import CameraError
from pipeline.network import urls
from pipeline.network.urls import NetworkUrl

log = structlog.get_logger(__name__)

# The keys of an entry that its URL stands for in a CameraSpec, with their meanings.
KEYS = {
    "user": "login of the camera; the key is for cameras on the network only.",
    "password": "password of the login; better `${NAME}` or password_file than the password itself.",
    "tls_ca_file": "path of a file that holds tls_ca.",
    "password_file": "path of a file that holds the password of the login; line ends at its end are removed.",
}

_LOGIN = ("user", "password", "password_file")


class InvalidEntry(Exception):
    """A value of a camera's entry is invalid; `key` says where it stands."""

    def __init__(self, key: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.key = key


def resolve_credentials(values: object, *, as_written: object) -> object:
    """Moves each camera's user and password into its URL; returns the new values. Raises InvalidEntry.

    as_written: the values before variables were replaced; logs a warning for each URL that holds a password there.
    """
    entries = _cameras(values)
    if not isinstance(values, dict) or not entries:
        return values
    for entry in filter(_holds_credentials, _cameras(as_written)):
        log.warning(
            "password_in_url", camera=entry.get("name"), better="use the keys user and password_file, or ${NAME}"
        )
    return values | {"cameras": [_resolved(entry, index) for index, entry in enumerate(entries)]}


def with_user(url: str, user: str, password_file: str | None) -> str:
    """The URL with the user and the password that the file holds. Raises InvalidEntry."""
    try:
        return _joined(url, user, _read_password(password_file))
    except _Unusable as error:
        raise InvalidEntry((error.key,), str(error)) from None


def _cameras(values: object) -> list[Any]:
    entries = values.get("cameras") if isinstance(values, dict) else None
    return entries if isinstance(entries, list) else []


def _holds_credentials(entry: object) -> bool:
    """Whether the URL itself holds a user or a password that is no variable."""
    url = entry.get("url", "") if isinstance(entry, dict) else ""
    userinfo, at, _ = str(url).partition("://")[2].rpartition("@")
    return bool(at) and "${" not in userinfo


def _resolved(entry: object, index: int) -> object:
    if not isinstance(entry, dict):
        return entry
    try:
        return _with_credentials(entry)
    except _Unusable as error:
        raise InvalidEntry(("cameras", index, error.key), str(error)) from None


class _Unusable(Exception):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _with_credentials(entry: Mapping[str, object]) -> dict[str, object]:
    credentials = {key: _text(key, entry[key]) for key in _LOGIN if key in entry}
    rest = {key: value for key, value in entry.items() if key not in KEYS}
    if "tls_ca_file" in entry:
        if "tls_ca" in entry:
            raise _Unusable("tls_ca_file", "the key tls_ca stands there too; keep one of the two")
        rest["tls_ca"] = _read("tls_ca_file", _text("tls_ca_file", entry["tls_ca_file"]))
    if not credentials:
        return rest
    if "user" not in credentials:
        raise _Unusable(next(iter(credentials)), "it needs the key user beside it")
    if "password" in credentials and "password_file" in credentials:
        raise _Unusable("password_file", "the key password stands there too; keep one of the two")
    password = (
        credentials["password"] if "password" in credentials else _read_password(credentials.get("password_file"))
    )
    return rest | {"url": _joined(str(entry.get("url", "")), credentials["user"], password)}


def _text(key: str, value: object) -> str:
    """YAML reads 0123 as 83, and null as nothing: what is no text may be another password than the one written."""
    if not isinstance(value, str):
        raise _Unusable(key, "it is no text for YAML; write it in quotes")
    return value


def _read_password(name: str | None) -> str:
    return "" if name is None else _read("password_file", name)


def _read(key: str, name: str) -> str:
    try:
        text = Path(name).expanduser().read_text().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _Unusable(key, f"{name!r}: it is not a text file") from None
    except (OSError, RuntimeError) as error:
        raise _Unusable(key, f"{name!r}: {getattr(error, 'strerror', None) or error}") from None
    if not text:
        raise _Unusable(key, f"{name!r}: the file is empty")
    return text


def _joined(url: str, user: str, password: str) -> str:
    try:
        parsed = urls.parse(url)
    except CameraError as error:
        raise _Unusable("url", str(error)) from None
    if not isinstance(parsed, NetworkUrl):
        raise _Unusable("user", "only a camera on the network takes a user")
    if not user:
        raise _Unusable("user", "it is empty")
    if urls.credentials(url) is not None:
        raise _Unusable("user", "the URL already holds a user")
    scheme, _, rest = url.partition("://")
    userinfo = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{scheme}://{userinfo}@{rest}"
