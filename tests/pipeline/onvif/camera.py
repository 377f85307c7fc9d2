"""A camera with ONVIF: a real HTTP server on loopback that answers as published devices do, and checks logins."""

from __future__ import annotations

import base64
import hashlib
import http.server
import re
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lxml import etree

from pipeline.network import urls
from pipeline.network.urls import NetworkUrl

USER, PASSWORD = "viewer", "s3cret-word"
LOGIN_WINDOW = timedelta(seconds=5)
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    'xmlns:trt="http://www.onvif.org/ver10/media/wsdl" xmlns:tr2="http://www.onvif.org/ver20/media/wsdl" '
    'xmlns:ter="http://www.onvif.org/ver10/error"><env:Body>{}</env:Body></env:Envelope>'
)
_FAULT = (
    "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:{}</env:Value></env:Subcode>"
    '</env:Code><env:Reason><env:Text xml:lang="en">{}</env:Text></env:Reason></env:Fault>'
)
MEDIA_PROFILES = """<trt:GetProfilesResponse>
<trt:Profiles token="Profile_1" fixed="true"><tt:Name>mainStream</tt:Name>
<tt:VideoSourceConfiguration token="VideoSourceToken"><tt:Name>VideoSourceConfig</tt:Name>
<tt:Bounds x="0" y="0" width="2688" height="1520"/></tt:VideoSourceConfiguration>
<tt:VideoEncoderConfiguration token="VideoEncoderToken_1"><tt:Encoding>H264</tt:Encoding>
<tt:Resolution><tt:Width>2688</tt:Width><tt:Height>1520</tt:Height></tt:Resolution><tt:Quality>3.000000</tt:Quality>
<tt:RateControl><tt:FrameRateLimit>25</tt:FrameRateLimit><tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl>
<tt:H264><tt:GovLength>50</tt:GovLength><tt:H264Profile>Main</tt:H264Profile></tt:H264></tt:VideoEncoderConfiguration>
</trt:Profiles>
<trt:Profiles token="Profile_2" fixed="true"><tt:Name>subStream</tt:Name>
<tt:VideoEncoderConfiguration token="VideoEncoderToken_2"><tt:Encoding>JPEG</tt:Encoding>
<tt:Resolution><tt:Width>640</tt:Width><tt:Height>360</tt:Height></tt:Resolution>
<tt:RateControl><tt:FrameRateLimit>5</tt:FrameRateLimit></tt:RateControl></tt:VideoEncoderConfiguration></trt:Profiles>
</trt:GetProfilesResponse>"""
MEDIA2_PROFILES = """<tr2:GetProfilesResponse><tr2:Profiles token="Profile_1"><tr2:Name>mainStream</tr2:Name>
<tr2:Configurations><tr2:VideoEncoder token="V_1" GovLength="60" Profile="Main"><tt:Encoding>H265</tt:Encoding>
<tt:Resolution><tt:Width>3840</tt:Width><tt:Height>2160</tt:Height></tt:Resolution>
<tt:RateControl><tt:FrameRateLimit>12.500000</tt:FrameRateLimit></tt:RateControl></tr2:VideoEncoder>
</tr2:Configurations></tr2:Profiles></tr2:GetProfilesResponse>"""


@dataclass
class OnvifCamera:
    """What the camera does. answers: bodies, or whole answers of HTTP (bytes), in place of its own by their operations.

    clock_ahead: of its clock. wants_http_digest: it takes no WS-Security login, as some makers' newer devices.
    """

    user: str = USER
    password: str = PASSWORD
    clock_ahead: timedelta = timedelta()
    wants_http_digest: bool = False
    has_media2: bool = False
    stream_url: str = "rtsp://{host}:554/Streaming/Channels/10{number}?transportmode=unicast&profile=Profile_{number}"
    answers: Mapping[str, str | bytes] = field(default_factory=dict)
    keeps_open: bool = False  # a connection, after a whole answer of HTTP
    port: int = 0
    heard: list[tuple[str, str]] = field(default_factory=list)  # paths and operations
    bodies: list[str] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/onvif/device_service"

    def asked(self, user: str | None = USER, password: str = PASSWORD) -> NetworkUrl:
        """The URL as a command gives it to `device.probe`."""
        login = "" if user is None else f"{user}:{password}@"
        parsed = urls.parse(self.url().replace("://", f"://{login}", 1))
        assert isinstance(parsed, NetworkUrl)
        return parsed

    def answer(self, operation: str, request: etree._Element) -> str:
        """The body of an answer."""
        host = f"127.0.0.1:{self.port}"
        match operation:
            case "GetSystemDateAndTime":
                now = datetime.now(UTC) + self.clock_ahead
                return (
                    "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
                    "<tt:UTCDateTime>"
                    f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
                    f"<tt:Second>{now.second}</tt:Second></tt:Time>"
                    f"<tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day>"
                    "</tt:Date></tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
                )
            case "GetDeviceInformation":
                return (
                    "<tds:GetDeviceInformationResponse><tds:Manufacturer>ACME</tds:Manufacturer><tds:Model>C-1</tds:Model>"
                    "<tds:FirmwareVersion>V5.7.3</tds:FirmwareVersion></tds:GetDeviceInformationResponse>"
                )
            case "GetServices":
                names = ["ver10/media"] + (["ver20/media"] if self.has_media2 else [])
                services = (
                    f"<tds:Service><tds:Namespace>http://www.onvif.org/{name}/wsdl</tds:Namespace>"
                    f"<tds:XAddr>http://{host}/onvif/{name}</tds:XAddr></tds:Service>"
                    for name in names
                )
                return f"<tds:GetServicesResponse>{''.join(services)}</tds:GetServicesResponse>"
            case "GetCapabilities":
                return (
                    "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media>"
                    f"<tt:XAddr>http://{host}/onvif/ver10/media</tt:XAddr></tt:Media></tds:Capabilities>"
                    "</tds:GetCapabilitiesResponse>"
                )
            case "GetProfiles":
                return MEDIA2_PROFILES if "ver20" in request.tag else MEDIA_PROFILES
        token = next(request.iter("{*}ProfileToken")).text or ""
        url = self.stream_url.format(host="127.0.0.1", number=token[-1]).replace("&", "&amp;")
        if "ver20" in request.tag:
            return f"<tr2:GetStreamUriResponse><tr2:Uri>{url}</tr2:Uri></tr2:GetStreamUriResponse>"
        return (
            f"<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{url}</tt:Uri></trt:MediaUri></trt:GetStreamUriResponse>"
        )

    def is_login(self, envelope: etree._Element) -> bool:
        """Whether the WS-Security login is right, fresh by the camera's clock, and was not used before."""
        texts = {
            name: envelope.findtext(f".//{{*}}{name}") or "" for name in ("Username", "Password", "Nonce", "Created")
        }
        if not all(texts.values()) or texts["Nonce"] in self.nonces:
            return False
        self.nonces.add(texts["Nonce"])
        signed = base64.b64decode(texts["Nonce"]) + texts["Created"].encode() + self.password.encode()
        digest = base64.b64encode(hashlib.sha1(signed).digest()).decode()
        age = abs(datetime.now(UTC) + self.clock_ahead - datetime.fromisoformat(texts["Created"]))
        return texts["Username"] == self.user and texts["Password"] == digest and age <= LOGIN_WINDOW


def fault(code: str, text: str = "refused") -> str:
    return _FAULT.format(code, text)


def envelope(body: str) -> bytes:
    return _ENVELOPE.format(body).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    camera: OnvifCamera

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        root = etree.fromstring(body)
        request = root.find("{*}Body")[0]
        operation = etree.QName(request).localname
        self.camera.heard.append((self.path, operation))
        self.camera.bodies.append(body.decode())
        given = self.camera.answers.get(operation)
        if isinstance(given, bytes):
            self.wfile.write(given)
            if self.camera.keeps_open:
                self.camera.ended.wait(30)
        elif given is not None:
            self._send(200, envelope(given))
        elif operation == "GetSystemDateAndTime" or self._is_logged_in(root):
            self._send(200, envelope(self.camera.answer(operation, request)))
        elif self.camera.wants_http_digest:
            self._send(401, b"", 'Digest realm="ACME", nonce="a1b2c3", qop="auth", algorithm=MD5')
        else:
            self._send(400, envelope(fault("NotAuthorized", "Sender not authorized")))

    def _is_logged_in(self, root: etree._Element) -> bool:
        if not self.camera.wants_http_digest:
            return self.camera.is_login(root)
        fields = dict(re.findall(r'(\w+)="?([^",]+)"?', self.headers.get("Authorization", "")))
        secret = _md5(f"{self.camera.user}:ACME:{self.camera.password}")
        middle = f"a1b2c3:{fields.get('nc')}:{fields.get('cnonce')}:auth"
        return fields.get("response") == _md5(f"{secret}:{middle}:{_md5(f'POST:{self.path}')}")

    def _send(self, status: int, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Logs nothing."""


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


@contextmanager
def running(camera: OnvifCamera) -> Iterator[OnvifCamera]:
    """The camera, listening on a free port of loopback."""
    handler = type("Handler", (_Handler,), {"camera": camera})
    with _Server(("127.0.0.1", 0), handler) as server:
        camera.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield camera
        finally:
            camera.ended.set()
            server.shutdown()
