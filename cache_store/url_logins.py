"""Tells whether a URL's login is ambiguous, before a host is read from it. Opens, resolves and shows nothing."""

from __future__ import annotations

import ipaddress
import re

HOW_TO_ESCAPE = (
    "in a user name or a password write @ as %40, # as %23, / as %2F, ? as %3F, [ as %5B, ] as %5D and % as %25"
)
_AUTHORITY = re.compile(r"(?s)[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)")
_PORT = re.compile(r":\d*$")


def is_ambiguous(url: str) -> bool:
    """Whether characters of the login that are not escaped could make a part of it the host.

    So could an '@' beyond the host, because the password may hold the '/', '?' or '#' before it. An IP address is a
    host in any case.
    """
    if (match := _AUTHORITY.match(url)) is None:
        return False
    authority, rest = match.groups()
    login, _, host = authority.rpartition("@")
    if not set("@[]").isdisjoint(login):
        return True
    before, has_sign, _ = rest.rpartition("@")
    return bool(has_sign) and ":" in authority + before and not _is_address(_PORT.sub("", host).strip("[]"))


def without_ambiguous_login(url: str) -> str:
    """The URL without its login if that is ambiguous, as versions read it that took such URLs; else the URL itself.

    To them the last '@' of the authority was the end of the login.
    """
    match = _AUTHORITY.match(url)
    if match is None or not is_ambiguous(url):
        return url
    authority, rest = match.groups()
    return url[: match.start(1)] + authority.rpartition("@")[2] + rest.replace("@", "%40")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
