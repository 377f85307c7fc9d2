"""A confined worker trusts the authorities of its system, at the paths that OpenSSL was built with."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.cameras import CameraState, SourceReason
from pipeline.workers import confinement
from tests.pipeline import rtsp_camera, servers
from tests.pipeline.rtsp_camera import RtspCamera
from tests.pipeline.servers import Reply

pytestmark = pytest.mark.skipif(confinement.landlock_version() < 1, reason="this kernel has no Landlock")

_BIND = 'mount --bind "$1" "$2" || exit 9; shift 2; exec "$@"'


def on_machine_with(path: Path, *, at: str) -> list[str]:
    """The beginning of a command that runs where this file or folder lies in the place of the system's own one."""
    own = Path(getattr(ssl.get_default_verify_paths(), at)).resolve()
    if not own.exists():
        pytest.skip(f"no authorities of the system at {own}")
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _BIND, "sh", str(path), str(own)]
    if subprocess.run([*command, "true"], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("no mount namespaces here")
    return command


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs it with these variables alone to name certificates."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    environment |= {"PYTHONPATH": str(Path.cwd())} | variables
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def hashed(folder: Path, certificate: Path, *, is_link: bool) -> Path:
    """A folder with a certificate as OpenSSL looks for it: by its hash."""
    folder.mkdir()
    found = run("openssl", "x509", "-noout", "-hash", "-in", str(certificate))
    path = folder / f"{found.stdout.strip()}.0"
    if is_link:
        path.symlink_to("company.pem")
        (folder / "company.pem").symlink_to(certificate)
    else:
        path.write_bytes(certificate.read_bytes())
    return folder


@pytest.mark.parametrize("place", ["one file", "a folder", "a folder of links to other places"])
def test_a_camera_with_a_certificate_of_a_system_authority_connects(tmp_path: Path, place: str) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    tls, certificate = servers.make_certificate(own, "IP:127.0.0.1")
    unknown, _ = servers.make_certificate(other, "IP:127.0.0.1")
    if place == "one file":
        machine = on_machine_with(certificate, at="openssl_cafile")
    else:
        folder = hashed(tmp_path / "certs", certificate, is_link=place != "a folder")
        machine = on_machine_with(folder, at="openssl_capath")
    camera = RtspCamera()
    with ExitStack() as stack:
        # One that wants a login has been accepted once it says so.
        https, stranger = (
            stack.enter_context(servers.scripted_server({"/live": Reply(401)}, tls=context))
            for context in (tls, unknown)
        )
        stack.enter_context(rtsp_camera.running(camera))
        port = stack.enter_context(servers.tls_proxy(camera.port, tls))
        urls = (f"{https.url}/live", f"rtsps://127.0.0.1:{port}/live", f"{stranger.url}/live")
        told = run(*machine, sys.executable, "-m", "tests.pipeline.workers.confined_cameras", *urls)

    lines = told.stdout.splitlines()
    assert [line for line in lines if "ingest_worker_not_confined" in line] == []
    assert [line.removeprefix("came to ") for line in lines if line.startswith("came to ")] == [
        SourceReason.UNAUTHORIZED,
        CameraState.LIVE,
        SourceReason.TLS,
    ], told.stderr


_TRY_TO_READ = """
import sys
from pipeline.workers import confinement
assert not confinement.close_files([])
for path in sys.argv[1:]:
    try:
        open(path, "rb").close()
        print(path)
    except PermissionError:
        pass
"""


def test_of_the_links_in_a_folder_of_certificates_only_those_that_openssl_follows_open_a_file(tmp_path: Path) -> None:
    """A server's key may lie behind another one."""
    names = ("0a775a30.0", "0a775a30.12", "0a775a30.r1")
    others = ("server.pem", "0a775a30.pem", "0a775a30", "x0a775a30.0", "0a775a30.0.key")
    folder = tmp_path / "certs"
    folder.mkdir()
    for name in names + others:
        (tmp_path / name).write_text("")
        (folder / name).symlink_to(tmp_path / name)

    paths = [str(tmp_path / name) for name in names + others]
    read = run(sys.executable, "-c", _TRY_TO_READ, *paths, SSL_CERT_DIR=str(folder))

    assert read.stdout.split() == paths[: len(names)], read.stderr
