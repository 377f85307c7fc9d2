"""Parses camera URLs, and tells whether two lead to one source. Opens nothing."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from cache_store.url_logins import HOW_TO_ESCAPE, is_ambiguous
from pipeline.cameras import CameraSpec, InvalidCamera
from pipeline.network import sim_options
from pipeline.network.tls import USUAL_RULES, TlsRules
from pipeline.network.url_redaction import redact

MAX_URL_LENGTH = 2048
LIVE_SCHEMES = ("rtsp", "rtsps")
TLS_SCHEMES = ("rtsps", "https")
NETWORK_SCHEMES = (*LIVE_SCHEMES, "http", "https")
DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+(?:%\w+)?\])(?:[:/]|$)"
_ALMOST_NETWORK = re.compile(rf"(?i)\W*(?:{'|'.join(NETWORK_SCHEMES)})\W?//|{_ADDRESS}")
_SIM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")  # URL parsers disagree on these
# Logins in a path or query. They change without the picture; a name like `key` may also select the picture.
_LOGIN = re.compile(
    r"(?i)(?<=[&;/?])(?:user(?:name)?|usr|login|pass(?:word|wd)?|pwd|(?:access_)?token|auth|sig(?:nature)?|expires)"
    r"=[^&;/?#]*[&;]?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimUrl:
    """A simulated camera. `start_s`: Unix time of the scene's second 0 (default: when it is opened)."""

    name: str
    seed: int
    start_s: float | None = None
    gap_s: float = 6.0
    width: int = 640
    height: int = 360


@dataclass(frozen=True, slots=True)
class FileUrl:
    """A local file. `path` is absolute."""

    path: Path


@dataclass(frozen=True, slots=True)
class NetworkUrl:
    """An rtsp(s) or http(s) URL. `url` includes the credentials: never show it. It has no fragment."""

    url: str
    scheme: str
    host: str
    port: int | None = None
    tls: TlsRules = USUAL_RULES


SourceUrl = SimUrl | FileUrl | NetworkUrl


def parse(url: str) -> SourceUrl:
    """The parsed URL. Raises InvalidCamera; its message shows the URL redacted."""
    if not url or len(url) > MAX_URL_LENGTH:
        raise InvalidCamera(f"camera URL of {len(url)} characters (1 to {MAX_URL_LENGTH} are allowed)")
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else "file"
    if scheme == "sim":
        return _parse_sim(url)
    if scheme == "file":
        return _parse_file(url)
    if scheme in NETWORK_SCHEMES:
        return _parse_network(url, scheme)
    raise InvalidCamera(
        f"camera URL {redact(url)!r}: scheme {scheme!r} is not one of sim, file, {', '.join(NETWORK_SCHEMES)}"
    )


def parse_source(spec: CameraSpec) -> SourceUrl:
    """The parsed URL of a camera. Raises InvalidCamera, also for an option that its kind of source does not take."""
    url = parse(spec.url)
    if spec.loop and (isinstance(url, SimUrl) or (isinstance(url, NetworkUrl) and url.scheme in LIVE_SCHEMES)):
        raise InvalidCamera(
            f"camera {spec.name!r}: loop is for recordings (a file, http, https), not for a live source"
        )
    return with_tls(url, tls_rules(spec))


def tls_rules(spec: CameraSpec) -> TlsRules:
    """What the camera's certificate must be."""
    return TlsRules(certificate_sha256=spec.tls_certificate_sha256, ca=spec.tls_ca, name=spec.tls_name)


def with_tls(url: SourceUrl, rules: TlsRules) -> SourceUrl:
    """The URL of a camera whose certificate is checked by these rules. Raises InvalidCamera for one without TLS."""
    if rules == USUAL_RULES:
        return url
    if not isinstance(url, NetworkUrl) or url.scheme not in TLS_SCHEMES:
        raise InvalidCamera(f"camera URL: tls_… is for {' and '.join(TLS_SCHEMES)}")
    return replace(url, tls=rules)


def source_of(url: str) -> str:
    """What identifies the source that a URL leads to: equal for URLs that show the same, and without a secret of one.

    A network URL keeps scheme, host, port, path and query; logins, fragment, default port and the case of the host do
    not count. A file is its real path. A simulated camera is its scene, whatever the order of its options. Raises
    InvalidCamera.
    """
    parsed = parse(url)
    if isinstance(parsed, SimUrl):
        return f"sim:?{urlencode(asdict(parsed))}"
    if isinstance(parsed, FileUrl):
        return f"file:{os.path.realpath(parsed.path)}"  # Path.resolve raises RuntimeError for a link to itself
    return _network_source(parsed)


def source_digest(url: str) -> str:
    """A digest of `source_of`, to compare sources where the URL is not to be shown. Raises InvalidCamera."""
    return hashlib.sha256(source_of(url).encode()).hexdigest()[:32]


def credentials(url: str) -> tuple[str, str] | None:
    """User and password of a well-formed URL, percent-decoded; None if it has none."""
    parts = urlsplit(url)
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))


def strip_credentials(url: str) -> str:
    """A well-formed URL without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def server_address(parts: SplitResult) -> str:
    """Host and port as the server knows them: without a login, and without the zone, which only this machine knows."""
    return re.sub("%[^]]*", "", parts.netloc.rpartition("@")[2])


def host_of(parts: SplitResult) -> str:
    """The host as it is looked up, "" without one. The zone of an IPv6 address follows a % or, in RFC 6874, %25."""
    return (parts.hostname or "").replace("%25", "%")


def _network_source(parsed: NetworkUrl) -> str:
    parts = urlsplit(parsed.url)
    query = f"?{parts.query}" if parts.query else ""
    what = _LOGIN.sub("", f"{parts.path or '/'}{query}").rstrip("?&;")
    return f"{parsed.scheme}://{parsed.host}:{parsed.port or DEFAULT_PORTS[parsed.scheme]}{what}"


def _parse_network(url: str, scheme: str) -> NetworkUrl:
    url = url.rstrip()  # pasted
    problem = "expected scheme://host[:port]/path"
    if is_ambiguous(url):
        hint = f"{HOW_TO_ESCAPE}, and an @ behind the host as %40 too; or leave the login out of the URL"
        hint += " and use --user and --password-file"
        raise InvalidCamera(f"camera URL {redact(url)!r}: its login could be taken for its host: {hint}")
    try:
        parts = urlsplit(url)
        host, port = host_of(parts), parts.port
    except ValueError:
        host, port = "", None
        problem = "malformed host or port"
    if not host or port == 0 or _FORBIDDEN.search(url) or not url[len(scheme) :].startswith("://"):
        problem = f"{problem}, without spaces or backslashes ({HOW_TO_ESCAPE})"
        raise InvalidCamera(f"camera URL {redact(url)!r}: {problem}")
    # A fragment is for the client, never for the server: options of other software, mostly.
    return NetworkUrl(url.partition("#")[0], scheme, host, port)


def _parse_file(url: str) -> FileUrl:
    path = url[5:] if url[:5].lower() == "file:" else url
    path = path[2:] if path.startswith("///") else path
    if "://" in path or _ALMOST_NETWORK.match(path):  # it may hold a password, and paths are shown
        raise InvalidCamera(
            "camera URL: it is neither a local path nor a network URL: begin with the scheme, without white space or "
            "quotes before it, e.g. rtsp://"
        )
    if "\x00" in path or path.startswith("//") or not path:
        raise InvalidCamera("camera URL: not a local path (a network camera needs rtsp: in front)")
    return FileUrl(Path(path).absolute())


def _parse_sim(url: str) -> SimUrl:
    name, _, query = url[4:].partition("?")
    if not _SIM_NAME.fullmatch(name):
        raise InvalidCamera(f"camera URL {url[:80]!r}: use sim:NAME, of letters, digits, '.', '_' or '-'")
    pairs = parse_qsl(query, keep_blank_values=True)
    values = {key: sim_options.parse(url, key, text) for key, text in pairs}
    if len(values) != len(pairs):
        raise InvalidCamera(f"camera URL {url!r}: a key is given twice")
    return SimUrl(
        name=name,
        seed=int(values.get("seed", zlib.crc32(name.encode()))),
        start_s=values.get("start"),
        gap_s=values.get("gap", 6.0),
        width=int(values.get("width", 640)),
        height=int(values.get("height", 360)),
    )
