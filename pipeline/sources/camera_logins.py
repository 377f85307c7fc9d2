"""The login of a connection to a camera, and the check of the camera's certificate."""

from __future__ import annotations

from pipeline.network import tls as tls_rules
from pipeline.network import urls
from pipeline.network.http_auth import Credentials, Login
from pipeline.network.tls import USUAL_RULES, TlsClient, TlsClients
from pipeline.network.urls import NetworkUrl
from pipeline.sources.ingest_config import IngestConfig


def login(url: NetworkUrl) -> Login | None:
    """The login in a URL, None without one."""
    pair = urls.credentials(url.url)
    return None if pair is None else Login(Credentials(*pair))


def tls(url: NetworkUrl, config: IngestConfig) -> TlsClient:
    """What is checked of the camera's certificate. Raises SourceInvalid."""
    return tls_rules.client(url.tls, config.ca_file)


def all_tls(url: NetworkUrl, config: IngestConfig) -> TlsClients:
    """What is checked of every server that the camera leads to. Raises SourceInvalid."""
    return TlsClients(own=tls(url, config), others=tls_rules.client(USUAL_RULES, config.ca_file))
