"""A client encrypts its connection to every other machine, whether or not it was told to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from console.client import channel, grpc_environment  # noqa: F401 - before grpc
from console.client.channel import TlsFiles
from console.client.client import HermesClient
from console.client.errors import ClientError


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "[::1]:50051", "localhost:50051", "unix:/run/hermes"])
def test_clear_text_stays_on_this_machine(address: str) -> None:
    assert not channel.uses_tls(address, TlsFiles())
    assert channel.uses_tls(address, TlsFiles(ca=Path("ca.pem")))


@pytest.mark.parametrize("address", ["192.0.2.7:50051", "hermes.example:443", "[2001:db8::7]:50051", "0.0.0.0:1"])
def test_a_connection_to_another_machine_is_encrypted_unless_it_is_insecure(address: str) -> None:
    assert channel.uses_tls(address, TlsFiles())
    assert not channel.uses_tls(address, TlsFiles(is_insecure=True))


@pytest.fixture
def _proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody answers at."""
    for name in ("no_proxy", "NO_PROXY", "grpc_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:c4n4ry@127.0.0.1:1")


@pytest.mark.usefixtures("_proxy")
def test_a_server_on_this_machine_is_reached_past_a_proxy() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with channel.open_channel(f"127.0.0.1:{port}", TlsFiles()) as opened:
        grpc.channel_ready_future(opened).result(timeout=30)
    server.stop(None)


@pytest.mark.usefixtures("_proxy")
def test_where_a_proxy_stands_before_a_server_that_does_not_answer_it_is_named() -> None:
    with HermesClient("192.0.2.7:1", tls=TlsFiles(is_insecure=True)) as client, pytest.raises(ClientError) as caught:
        client.list_cameras()

    assert "http_proxy=127.0.0.1:1: no_proxy=192.0.2.7 would not" in str(caught.value)
    assert "c4n4ry" not in str(caught.value)
