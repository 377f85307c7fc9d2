"""Reads what a device answers, by the names of its elements wherever they stand: devices break the schema."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from lxml import etree

MAX_TEXT = 256  # characters of a name that are kept
MAX_PROFILES = 64
_MAX_URL = 2048
_MAX_LIST = 16_384  # characters of a list of URLs or scopes
_ENCODERS = ("VideoEncoderConfiguration", "VideoEncoder")  # of the media service and of media2

Element: TypeAlias = etree._Element


class NotSoap(Exception):
    """The text is no SOAP message that may be read; says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a device refuses an operation. codes: without their prefixes."""

    codes: frozenset[str]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A stream that a device offers, as the device describes it. None: it does not say. key_frames_every: in frames."""

    token: str
    name: str
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    key_frames_every: int | None = None


@dataclass(frozen=True, slots=True)
class ProbeMatch:
    """A device that answers WS-Discovery. endpoint: its name for machines, empty if it has none."""

    endpoint: str
    urls: list[str]
    scopes: list[str]


def parse(content: bytes) -> Element:
    """The SOAP message. Entities and document types are refused, and nothing is loaded. Raises NotSoap."""
    if content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise NotSoap("it is a web page, no SOAP message")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise NotSoap("it has a document type or entities, which are refused")
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    if root is None or etree.QName(root).localname != "Envelope":
        raise NotSoap("it is no SOAP message")
    if root.getroottree().docinfo.doctype:  # in another encoding than ASCII
        raise NotSoap("it has a document type, which is refused")
    return root


def fault(root: Element) -> Fault | None:
    """The fault in a message, of SOAP 1.1 or 1.2; None if there is none."""
    if (found := _first(root, "Fault")) is None:
        return None
    codes = {_text(one).rpartition(":")[2] for name in ("Value", "faultcode") for one in _all(found, name)}
    reason = next((text for name in ("Text", "faultstring") if (text := _text_of(found, name))), "no reason given")
    return Fault(frozenset(codes), reason)


def utc_time(root: Element) -> datetime | None:
    """The time of the device's clock; None if it does not say, or says what is no time."""
    if (element := _first(root, "UTCDateTime")) is None:
        return None
    fields = [_number(element, name) for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")]
    try:
        # A leap second is one of those that a clock may show.
        year, month, day, hour, minute, second = (int(field) for field in fields if field is not None)
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def services(root: Element) -> dict[str, str]:
    """The URL of each service by its namespace, from an answer to GetServices."""
    found = {}
    for service in _all(root, "Service"):
        namespace, url = _text_of(service, "Namespace"), _text_of(service, "XAddr", _MAX_URL)
        if namespace and url:
            found[namespace] = url
    return found


def media_url(root: Element) -> str:
    """The URL of the media service from an answer to GetCapabilities; empty if it has none."""
    media = _first(root, "Media")
    return "" if media is None else _text_of(media, "XAddr", _MAX_URL)


def device_name(root: Element) -> tuple[str, str]:
    """Maker and model together, and the firmware; empty where the device does not say."""
    maker, model, firmware = (_text_of(root, name) for name in ("Manufacturer", "Model", "FirmwareVersion"))
    return " ".join(filter(None, (maker, model))), firmware


def profiles(root: Element) -> list[Profile]:
    """The profiles in an answer to GetProfiles, at most MAX_PROFILES."""
    return [_profile(element) for element in _all(root, "Profiles")[:MAX_PROFILES]]


def stream_url(root: Element) -> str:
    """The URL in an answer to GetStreamUri; empty if it has none."""
    return _text_of(root, "Uri", _MAX_URL)


def probe_matches(root: Element) -> list[ProbeMatch]:
    """The devices in an answer to WS-Discovery."""
    return [
        ProbeMatch(
            endpoint=_text_of(match, "Address"),
            urls=_text_of(match, "XAddrs", _MAX_LIST).split(),
            scopes=_text_of(match, "Scopes", _MAX_LIST).split(),
        )
        for match in _all(root, "ProbeMatch")
    ]


def _profile(element: Element) -> Profile:
    token, name = (element.get("token") or "")[:MAX_TEXT], _text_of(element, "Name")
    encoder = next((one for tag in _ENCODERS if (one := _first(element, tag)) is not None), None)
    if encoder is None:
        return Profile(token=token, name=name)
    length = encoder.get("GovLength")
    key_frames = _number(encoder, "GovLength") if length is None else _parsed(length)
    width, height, fps = (_number(encoder, one) for one in ("Width", "Height", "FrameRateLimit"))
    return Profile(
        token=token,
        name=name,
        codec=_text_of(encoder, "Encoding") or None,
        width=None if width is None else int(width),
        height=None if height is None else int(height),
        fps=fps,
        key_frames_every=None if key_frames is None else int(key_frames),
    )


def _all(element: Element, name: str) -> list[Element]:
    return list(element.iter(f"{{*}}{name}"))


def _first(element: Element, name: str) -> Element | None:
    return next(element.iter(f"{{*}}{name}"), None)


def _text(element: Element, limit: int = MAX_TEXT) -> str:
    return (element.text or "").strip()[:limit]


def _text_of(element: Element, name: str, limit: int = MAX_TEXT) -> str:
    found = _first(element, name)
    return "" if found is None else _text(found, limit)


def _number(element: Element, name: str) -> float | None:
    return _parsed(_text_of(element, name))


def _parsed(text: str) -> float | None:
    """A number that a video can have, None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < 1e6 else None
