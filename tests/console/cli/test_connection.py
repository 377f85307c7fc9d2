"""The options of a connection, and the variables that stand for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.actors.conftest import Serving
from tests.actors.scripted import ScriptedShard
from tests.console.test_cli import run

COMMANDS = (("ask", "what", "-c", "gate"), ("cameras", "list"), ("shards", "list"))


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_that_calls_a_server_takes_all_options_of_a_connection(command: tuple[str, ...]) -> None:
    ended = await run(*command, "--help")

    options = set(re.findall(r"--[a-z-]+", ended.out))
    assert {"--address", "--token-file", "--ca", "--cert", "--key", "--insecure"} <= options


async def test_variables_stand_for_the_options(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("right\n")
    async with serving(ScriptedShard(), token="right") as address:
        monkeypatch.setenv("HERMES_ADDRESS", address)
        monkeypatch.setenv("HERMES_TOKEN_FILE", str(tmp_path / "token"))
        ended = await run("cameras", "list")

    assert (ended.code, "gate" in ended.out) == (0, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ca", "/none/ca.pem"), "ca '/none/ca.pem': No such file or directory"),
        (("--cert", "/none/me.pem"), "a client's certificate and its key need each other"),
        (("--ca", "/none/ca.pem", "--insecure"), "insecure: without TLS there is no use for ca, cert and key"),
        (("--address", "nowhere"), "address 'nowhere': is not HOST:PORT, for example localhost:50051"),
        (("--token-file", "/none/token"), "token file '/none/token': No such file or directory"),
        (("--token-file", "~no-such-user/t"), "token file '~no-such-user/t': Could not determine home directory."),
        (("--ca", "~no-such-user/ca.pem"), "ca '~no-such-user/ca.pem': Could not determine home directory."),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_as_a_mistake(options: tuple[str, ...], message: str) -> None:
    ended = await run("cameras", "list", *options)

    assert ended.code == 2
    assert ended.err.startswith(f"error: {message}")


async def test_a_host_without_address_is_said_to_be_one() -> None:
    ended = await run("cameras", "list", "--address", "no-such-host.invalid:1")

    assert ended.code == 1
    assert "host 'no-such-host.invalid' has no address" in ended.err


async def test_a_missing_token_names_the_option(serving: Serving) -> None:
    async with serving(ScriptedShard(), token="right") as address:
        ended = await run("cameras", "list", "--address", address)

    assert (ended.code, "--token-file" in ended.err) == (2, True)


async def test_files_that_are_not_what_tls_needs_are_named(tmp_path: Path) -> None:
    """Of each of them gRPC said that no server answered."""
    await run("certs", "--folder", str(tmp_path))
    (tmp_path / "text").write_text("no PEM")
    ca, cert, key, text = (str(tmp_path / name) for name in ("ca.pem", "client.pem", "server-key.pem", "text"))

    no_authority = await run("cameras", "list", "--ca", text)
    other_key = await run("cameras", "list", "--ca", ca, "--cert", cert, "--key", key)
    no_key = await run("cameras", "list", "--ca", ca, "--cert", cert, "--key", text)

    assert (no_authority.code, f"ca {text!r}: no certificates in PEM" in no_authority.err) == (2, True)
    assert (other_key.code, "not a certificate and its key" in other_key.err) == (2, True)
    assert (no_key.code, f"cert {cert!r} with key {text!r}: not a certificate" in no_key.err) == (2, True)


@pytest.mark.parametrize(
    "command",
    [
        ("ask", "what", "-c", "gate", "--max-tokens", "99999999999"),
        ("cameras", "migrate", "gate", "--to", "99999999999"),
        ("cameras", "list", "--shard", "99999999999"),
        ("shards", "undrain", "99999999999"),
    ],
)
async def test_a_number_that_no_message_can_carry_is_a_mistake(serving: Serving, command: tuple[str, ...]) -> None:
    async with serving(ScriptedShard()) as address:
        ended = await run(*command, "--address", address)

    assert (ended.code, "Traceback" in ended.err) == (2, False)


NO_TEXT = "caf\udce9"  # what Python makes of a byte that is not UTF-8


@pytest.mark.parametrize(
    "command",
    [
        ("ask", NO_TEXT, "-c", "gate"),
        ("ask", "what", "-c", NO_TEXT),
        ("cameras", "add", NO_TEXT, "sim:one"),
        ("cameras", "add", "gate", f"http://127.0.0.1/{NO_TEXT}"),
        ("cameras", "add", "gate", "rtsp://127.0.0.1/", "--user", NO_TEXT, "--password-file", "/dev/null"),
        ("cameras", "add", "gate", "sim:one", "--label", f"site={NO_TEXT}"),
        ("cameras", "update", "gate", "--label", f"{NO_TEXT}=1"),
        ("cameras", "list", "--prefix", NO_TEXT),
        ("cameras", "list", "--address", f"{NO_TEXT}:1"),
        ("cameras", "test", f"rtsp://{NO_TEXT}/"),
        ("cameras", "remove", NO_TEXT),
        ("cameras", "erase", NO_TEXT),
        ("cameras", "migrate", NO_TEXT),
    ],
)
async def test_an_argument_that_is_no_text_is_one_line_of_error(command: tuple[str, ...]) -> None:
    ended = await run(*command)

    assert ended.code == 2
    assert re.fullmatch(r"error: .*caf\\udce9.* is not UTF-8 text\n", ended.err)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (b"", "the file is empty"),
        (b"\xff\xfe", "'utf-8' codec can't decode"),
        ("schlüssel".encode(), "token: use one line of printable ASCII"),
        (b"one\ntwo", "token: use one line of printable ASCII"),
    ],
)
async def test_a_token_that_no_call_can_carry_is_a_mistake(tmp_path: Path, token: bytes, message: str) -> None:
    (tmp_path / "token").write_bytes(token)

    ended = await run("cameras", "list", "--token-file", str(tmp_path / "token"))

    assert (ended.code, message in ended.err) == (2, True)
