"""`hermes certs`: files that a server and a client can use, and what to write to use them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from actors.config import loading
from actors.config.router_config import RouterConfig
from actors.server import tls
from actors.server.server import Router
from actors.server.startup import Startup
from tests.actors.scripted import ScriptedShard, scripted_fleet
from tests.console.test_cli import run


async def test_what_it_prints_is_a_configuration_that_a_server_can_use(tmp_path: Path) -> None:
    ended = await run("certs", "--folder", str(tmp_path / "certs"), "--host", "hermes.example")

    settings = loading.parse_config(ended.out, origin="certs", environment={})
    assert ended.code == 0
    assert list(yaml.safe_load(ended.out)["router"]["tls"]) == ["certificate", "key", "client_ca"]
    assert settings.router.tls is not None
    assert tls.server_credentials(settings.router.tls)
    assert "--ca" in ended.out
    assert "ca-key.pem can make certificates" in ended.err


async def test_the_certificate_of_a_server_for_others_is_good_on_the_server_itself_too(tmp_path: Path) -> None:
    """It used to be for the given host alone: a command on the server could not reach it by any name that it knows."""
    made = await run("certs", "--folder", str(tmp_path / "certs"), "--host", "router.example")
    settings = loading.parse_config(made.out, origin="certs", environment={}).router.tls
    assert settings is not None
    fleet = scripted_fleet(ScriptedShard())
    router = Router(Startup(fleet), RouterConfig(port=0, tls=replace(settings, client_ca=None)), None)
    port = (await router.start()).rpartition(":")[2]
    ca = str(tmp_path / "certs" / "ca.pem")
    try:
        listed = [
            await run("cameras", "list", "--json", "--address", f"{host}:{port}", "--ca", ca)
            for host in ("localhost", "127.0.0.1")
        ]
    finally:
        await router.stop()

    assert [(one.code, one.err) for one in listed] == [(0, ""), (0, "")]
    names = x509.load_pem_x509_certificate((tmp_path / "certs" / "server.pem").read_bytes()).extensions
    alternatives = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == ["localhost", "router.example"]


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = await run("certs", "--folder", str(tmp_path / "file" / "certs"))

    assert ended.code == 1
    assert ended.err.startswith(f"error: certificates in '{tmp_path}/file/certs'")


async def test_a_file_in_place_of_the_folder_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = await run("certs", "--folder", str(tmp_path / "file"))
    asked = await run("ask", "what", "-c", "gate", "--save-evidence", str(tmp_path / "file"))

    assert (made.code, f"{str(tmp_path / 'file')!r}: it is no folder" in made.err) == (1, True)
    assert (asked.code, f"{str(tmp_path / 'file')!r}: it is no folder" in asked.err) == (2, True)


async def test_a_folder_that_no_configuration_can_name_is_refused(tmp_path: Path) -> None:
    ended = await run("certs", "--folder", str(tmp_path / "cert\udcff"))

    assert (ended.code, "is not UTF-8 text" in ended.err) == (2, True)
    assert os.listdir(tmp_path) == []


NO_HOSTS = ("router/example", "https://router.example", "10.0.0.1:50051", "two words", "", "300.1.1.1", "a" * 64)


async def test_what_it_prints_is_a_configuration_wherever_the_folder_is(tmp_path: Path) -> None:
    folder = tmp_path / "my certs # of: today"
    ended = await run("certs", "--folder", str(folder))

    tls_files = loading.parse_config(ended.out, origin="certs", environment={}).router.tls
    assert tls_files is not None
    assert (tls_files.certificate, tls_files.key) == (folder / "server.pem", folder / "server-key.pem")


# The last one took longer with each letter: 44 of them took hours.
@pytest.mark.parametrize("host", [*NO_HOSTS, "a" * 44 + "!"])
async def test_what_is_no_host_is_refused_before_a_file_is_written(tmp_path: Path, host: str) -> None:
    ended = await run("certs", "--folder", str(tmp_path / "certs"), "--host", host)

    assert ended.code == 2
    assert f"host {host!r} is neither a host name nor an IP address" in ended.err
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("ca.pem", None, "ca.pem is missing beside ca-key.pem; put it back, or use another folder"),
        ("ca-key.pem", None, "ca-key.pem is missing beside ca.pem; put it back, or use another folder"),
        ("ca-key.pem", "server-key.pem", "ca-key.pem is not the key of ca.pem; put the right one back"),
        ("ca-key.pem", "ca.pem", "ca.pem and ca-key.pem: "),
    ],
)
async def test_an_authority_whose_files_are_not_whole_is_not_replaced(
    tmp_path: Path, name: str, content: str | None, problem: str
) -> None:
    """An operator who moved the key of the authority away would get another one, which no client trusts."""
    await run("certs", "--folder", str(tmp_path))
    wrong = None if content is None else (tmp_path / content).read_bytes()
    (tmp_path / name).unlink()
    if wrong is not None:
        (tmp_path / name).write_bytes(wrong)
    before = _contents(tmp_path)

    ended = await run("certs", "--folder", str(tmp_path))

    assert (ended.code, problem in ended.err) == (1, True)
    assert _contents(tmp_path) == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}
