"""TLS of the server: for who trusts its authority, mutual where it asks for it, reloaded when files change."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from actors import development_ca
from actors.config.router_config import RouterConfig
from actors.config.tls import TlsConfig
from actors.development_ca import Certificates
from actors.errors import ConfigError
from actors.server.server import Router
from actors.server.startup import Startup
from console.client.channel import TlsFiles
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec
from tests.actors.scripted import ScriptedShard, scripted_fleet


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return development_ca.make(tmp_path / "certs")


@asynccontextmanager
async def serving(tls: TlsConfig) -> AsyncIterator[str]:
    fleet = scripted_fleet(ScriptedShard())
    fleet.configure([CameraSpec(name="gate", url="sim:gate")])
    await fleet.reconcile()
    router = Router(Startup(fleet), RouterConfig(port=0, tls=tls), "right")
    address = await router.start()
    try:
        yield address
    finally:
        await router.stop()


def tls_of(files: Certificates, *, is_mutual: bool = False) -> TlsConfig:
    client_ca = files.certificate("ca") if is_mutual else None
    return TlsConfig(certificate=files.certificate("server"), key=files.key("server"), client_ca=client_ca)


async def names(address: str, tls: TlsFiles) -> list[str]:
    def call() -> list[str]:
        with HermesClient(address, token="right", tls=tls) as client:
            return [camera.name for camera in client.list_cameras()]

    return await asyncio.to_thread(call)


async def served_certificate(address: str) -> str:
    host, _, port = address.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


async def test_a_client_that_trusts_the_authority_is_served_and_no_other(files: Certificates, tmp_path: Path) -> None:
    stranger = development_ca.make(tmp_path / "other")
    async with serving(tls_of(files)) as address:
        assert await names(address, TlsFiles(ca=files.certificate("ca"))) == ["gate"]
        for tls in (TlsFiles(), TlsFiles(ca=stranger.certificate("ca"))):
            with pytest.raises(ClientError, match=f"no hermes answers at {address}"):
                await names(address, tls)


async def test_a_certificate_of_another_name_is_said_to_be_one(tmp_path: Path) -> None:
    files = development_ca.make(tmp_path / "certs", hosts=("router.example",))
    async with serving(tls_of(files)) as address:
        with pytest.raises(ClientError, match=r"does not name '127\.0\.0\.1'.*hermes certs --host 127\.0\.0\.1"):
            await names(address, TlsFiles(ca=files.certificate("ca")))


async def test_with_a_client_ca_each_client_must_show_a_certificate_of_it(files: Certificates, tmp_path: Path) -> None:
    stranger = development_ca.make(tmp_path / "other")
    ca = files.certificate("ca")
    async with serving(tls_of(files, is_mutual=True)) as address:
        assert await names(address, TlsFiles(ca=ca, cert=files.certificate("client"), key=files.key("client")))
        for tls in (
            TlsFiles(ca=ca),
            TlsFiles(ca=ca, cert=stranger.certificate("client"), key=stranger.key("client")),
        ):
            with pytest.raises(ClientError, match="no hermes answers"):
                await names(address, tls)


async def test_a_renewed_certificate_is_served_without_a_restart(files: Certificates) -> None:
    async with serving(tls_of(files)) as address:
        before = await served_certificate(address)
        assert before == await served_certificate(address)
        development_ca.make(files.folder)
        after = await served_certificate(address)
        listed = await names(address, TlsFiles(ca=files.certificate("ca")))

    assert after != before
    assert after.split() == files.certificate("server").read_text().split()
    assert listed == ["gate"]


async def test_a_certificate_whose_key_is_not_there_yet_is_not_used_and_is_logged_once(files: Certificates) -> None:
    key = files.key("server").read_bytes()
    async with serving(tls_of(files)) as address:
        before = await served_certificate(address)
        with structlog.testing.capture_logs() as events:
            development_ca.make(files.folder)
            new_key = files.key("server").read_bytes()
            files.key("server").write_bytes(key)
            assert [await served_certificate(address) for _ in range(2)] == [before] * 2
            files.key("server").write_bytes(new_key)
            assert await served_certificate(address) != before

    logged = [event["event"] for event in events]
    assert logged == ["certificate_not_reloaded", "certificate_reloaded"]
    assert str(files.key("server")) in events[0]["reason"]
    assert events[0]["consequence"] == "the certificate that was read before stays in use"
    in_use = x509.load_pem_x509_certificate(before.encode())
    assert events[0]["valid_until"] == in_use.not_valid_after_utc.isoformat(timespec="seconds")


@pytest.mark.parametrize("name", ["certificate", "key", "client_ca"])
def test_a_file_that_cannot_be_used_is_named(files: Certificates, tmp_path: Path, name: str) -> None:
    paths = {"certificate": files.certificate("server"), "key": files.key("server"), "client_ca": None}
    (tmp_path / "bad.pem").write_text("no certificate")
    for path, reason in ((tmp_path / "none.pem", "No such file"), (tmp_path / "bad.pem", "")):
        with pytest.raises(ConfigError, match=f"router.tls.{name} '{path}'.*{reason}"):
            Router(Startup(scripted_fleet(ScriptedShard())), RouterConfig(tls=TlsConfig(**paths | {name: path})), None)


def test_no_other_user_can_read_a_key_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = development_ca.make(tmp_path / "certs")
    finally:
        os.umask(before)

    assert {made.key(name).stat().st_mode & 0o777 for name in ("ca", "server", "client")} == {0o600}
    assert made.folder.stat().st_mode & 0o077 == 0


def test_an_authority_that_is_there_signs_again(files: Certificates) -> None:
    ca, server = files.certificate("ca").read_bytes(), files.certificate("server").read_bytes()
    again = development_ca.make(files.folder, hosts=("camera.example",))

    assert again.certificate("ca").read_bytes() == ca
    assert again.certificate("server").read_bytes() != server
