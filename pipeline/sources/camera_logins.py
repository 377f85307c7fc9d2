"""How a connection to a camera proves who it is, and checks the camera's certificate."""

from __future__ import annotations

import ssl

from pipeline.cameras import SourceInvalid, SourceReason
from pipeline.network import urls
from pipeline.network.http_auth import Credentials, Login
from pipeline.network.urls import NetworkUrl
from pipeline.sources.ingest_config import IngestConfig


def login(url: NetworkUrl) -> Login | None:
    """The login in a URL, None without one."""
    pair = urls.credentials(url.url)
    return None if pair is None else Login(Credentials(*pair))


def tls(config: IngestConfig) -> ssl.SSLContext:
    """What is checked about certificates. Raises SourceInvalid if ca_file cannot be read."""
    context = ssl.create_default_context()
    if config.ca_file is not None:
        try:
            context.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            text = f"ingest.ca_file {str(config.ca_file)!r}: {error.strerror}"
            raise SourceInvalid(text, SourceReason.TLS) from error
    return context
