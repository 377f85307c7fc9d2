"""A worker that reads no file but those that it needs still checks the certificates of cameras, by every rule."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.cameras import SourceReason
from tests.pipeline import servers
from tests.pipeline.servers import Reply
from tests.pipeline.workers import pools
from tests.pipeline.workers.pools import Cameras

NAMED, NAMELESS = "IP:127.0.0.1", "DNS:recorder"


class Camera:
    """A camera over TLS that wants a login: who gets to be told so has accepted its certificate."""

    def __init__(self, folder: Path, names: str, stack: ExitStack) -> None:
        folder.mkdir()
        context, self.certificate = servers.make_certificate(folder, names)
        server = stack.enter_context(servers.scripted_server({"/live": Reply(401)}, tls=context))
        self.url = f"{server.url}/live"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def wait_for_reason(cameras: Cameras, name: str, reason: SourceReason) -> None:
    cameras.wait_until(lambda: any(found is reason for *_, found in cameras.states[name]))


def hash_of(certificate: Path) -> str:
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@pytest.mark.parametrize("is_link", [False, True])
def test_the_file_of_authorities_that_the_environment_names(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, is_link: bool
) -> None:
    camera, other = Camera(tmp_path / "camera", NAMED, stack), Camera(tmp_path / "other", NAMED, stack)
    named = camera.certificate
    if is_link:
        named = tmp_path / "authorities.pem"
        named.symlink_to(camera.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(named))
    with pools.workers(folders=()) as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", camera.url)
        cameras.open("other", other.url)
        wait_for_reason(cameras, "lobby", SourceReason.UNAUTHORIZED)
        wait_for_reason(cameras, "other", SourceReason.TLS)


def test_the_file_of_authorities_that_the_environment_names_may_be_replaced(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, other = Camera(tmp_path / "camera", NAMED, stack), Camera(tmp_path / "other", NAMED, stack)
    named = tmp_path / "authorities.pem"
    named.symlink_to(other.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(named))
    with pools.workers(folders=()) as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", camera.url)
        wait_for_reason(cameras, "lobby", SourceReason.TLS)
        newer = tmp_path / "newer.pem"
        newer.symlink_to(camera.certificate)
        newer.rename(named)
        wait_for_reason(cameras, "lobby", SourceReason.UNAUTHORIZED)


@pytest.mark.parametrize("is_link", [False, True])
def test_the_folders_of_authorities_that_the_environment_names(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, is_link: bool
) -> None:
    """Each certificate by its hash, mostly a link to a file elsewhere."""
    camera = Camera(tmp_path / "camera", NAMED, stack)
    folders = [tmp_path / "empty", tmp_path / "hashed"]
    for folder in folders:
        folder.mkdir()
    hashed = folders[1] / f"{hash_of(camera.certificate)}.0"
    if is_link:
        hashed.symlink_to(camera.certificate)
    else:
        hashed.write_bytes(camera.certificate.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(map(str, folders)))
    with pools.workers(folders=()) as pool:
        cameras = Cameras(pool.open)
        cameras.open("lobby", camera.url)
        wait_for_reason(cameras, "lobby", SourceReason.UNAUTHORIZED)


def test_the_rules_of_a_camera_hold_in_a_worker(tmp_path: Path, stack: ExitStack) -> None:
    nameless = Camera(tmp_path / "nameless", NAMELESS, stack)
    rules = {
        "pinned": {"tls_certificate_sha256": nameless.sha256},
        "named": {"tls_ca": nameless.certificate.read_text(), "tls_name": "recorder"},
    }
    wrong = {
        "usual": {},
        "unnamed": {"tls_ca": nameless.certificate.read_text()},
        "other pin": {"tls_certificate_sha256": "0" * 64},
    }
    with pools.workers(folders=()) as pool:
        cameras = Cameras(pool.open)
        for name, tls in (rules | wrong).items():
            cameras.open(name.replace(" ", "-"), nameless.url, tls=tls)
        for name in rules:
            wait_for_reason(cameras, name, SourceReason.UNAUTHORIZED)
        for name in wrong:
            wait_for_reason(cameras, name.replace(" ", "-"), SourceReason.TLS)
