"""What a camera's specification may say about the camera's certificate."""

from __future__ import annotations

import re

MAX_CA, MAX_NAME = 1 << 16, 256
_SHA_256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w.:-]*")


def problem(digest: str, ca: str, name: str) -> str:
    """What is wrong with tls_certificate_sha256, tls_ca and tls_name, empty if they are valid."""
    if digest and not _SHA_256.fullmatch(digest):
        return f"tls_certificate_sha256 {digest[:80]!r}: it must be 64 hex digits in lower case, without colons"
    if digest and (ca or name):
        return "tls_certificate_sha256 needs neither tls_ca nor tls_name beside it"
    if len(ca) > MAX_CA:
        return f"tls_ca of {len(ca)} characters (limit {MAX_CA})"
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        return f"tls_name {name[:80]!r}: it must be a host name or an address"
    return ""
