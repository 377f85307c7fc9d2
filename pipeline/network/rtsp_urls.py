"""The URLs of an RTSP camera as libav and the camera itself hear them."""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.network.urls import server_address


def with_local_port(url: str, port: int) -> str:
    """A well-formed rtsp(s) URL without its credentials, pointed at a port of this machine as rtsp."""
    return urlsplit(url)._replace(scheme="rtsp", netloc=f"127.0.0.1:{port}").geturl()


def base_of(url: str) -> str:
    """Scheme, host and port of a well-formed URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{server_address(parts)}"
