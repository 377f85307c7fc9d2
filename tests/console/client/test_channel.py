"""A client encrypts its connection to every other machine, whether or not it was told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.client import channel
from console.client.channel import TlsFiles


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "[::1]:50051", "localhost:50051", "unix:/run/hermes"])
def test_clear_text_stays_on_this_machine(address: str) -> None:
    assert not channel.uses_tls(address, TlsFiles())
    assert channel.uses_tls(address, TlsFiles(ca=Path("ca.pem")))


@pytest.mark.parametrize("address", ["192.0.2.7:50051", "hermes.example:443", "[2001:db8::7]:50051", "0.0.0.0:1"])
def test_a_connection_to_another_machine_is_encrypted_unless_it_is_insecure(address: str) -> None:
    assert channel.uses_tls(address, TlsFiles())
    assert not channel.uses_tls(address, TlsFiles(is_insecure=True))
