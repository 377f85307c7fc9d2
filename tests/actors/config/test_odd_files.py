"""Files that are no configuration end with one line that names the place, never with an error of Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.config import loading
from actors.config.router_config import AuthConfig
from actors.errors import ConfigError

CAMERA = "cameras: [{name: gate, url: 'rtsp://host/1', user: u, %s}]"


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loading.parse_config(text, origin="hermes.yaml", environment={})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: 2026-13-45", "hermes.yaml:1: not valid YAML: no valid timestamp; put text in quotes"),
        ("model: tiny\nrouter: {port: " + "1" * 5_000 + "}", "hermes.yaml:2: not valid YAML: no valid int"),
        ("model: !!int x", "hermes.yaml:1: not valid YAML: no valid int"),
        ("model: !!timestamp x", "hermes.yaml:1: not valid YAML: no valid timestamp"),
        ("model: !!bool x", "hermes.yaml:1: not valid YAML: no valid bool"),
        ("cameras: &a [*a]", "hermes.yaml: a value holds itself by its alias, or is nested too deep"),
        ("[" * 3_000 + "]" * 3_000, "hermes.yaml: a value holds itself by its alias, or is nested too deep"),
        ("? [a, b]\n: c", "hermes.yaml:1: not valid YAML: found unhashable key"),
        ('model: "a\\0b"', "hermes.yaml:1: model: it holds a NUL character"),
        ("cameras: x", "hermes.yaml:1: cameras: it must be a list"),
        ("cameras: [x]", "hermes.yaml:1: cameras.0: it must be a section: keys with values"),
        ("router: 50051", "hermes.yaml:1: router: it must be a section: keys with values"),
        ("${HOME}: x", "hermes.yaml:1: ${HOME}: unknown key"),
        ("set-up: x", "hermes.yaml:1: set-up: unknown key"),
        (
            "memory: {tokens-per-layer: 5}",
            "hermes.yaml:1: memory.tokens-per-layer: unknown key (did you mean 'tokens_per_layer'?)",
        ),
    ],
)
def test_what_is_no_configuration_is_named_by_its_place(text: str, expected: str) -> None:
    assert expected in error_of(text)


@pytest.mark.parametrize(
    "key",
    ["shards.grace_s", "shards.checkpoint_every_s", "shards.num_cpus", "router.grace_s", "router.write_timeout_s"],
)
def test_a_number_without_end_is_refused(key: str) -> None:
    section, name = key.split(".")

    assert f"{key} is inf (a finite number)" in error_of(f"{section}: {{{name}: .inf}}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shards: {lease: {length_s: .inf}}", "shards.lease.length_s is inf"),
        ("shards: {device: {gap_after_s: .nan}}", "shards.device.gap_after_s is nan: it must be above 0, and at most"),
        ("shards: {device: {max_cameras: 1000000000000}}", "shards.device.max_cameras is 1000000000000"),
        ("shards: {count: 1000000000}", "shards.count is 1000000000 (at most 10000)"),
        ("shards: {settings_version: 4294967296}", "shards.settings_version is 4294967296 (at most 2147483647)"),
        ("shards: {ray: ''}\nstore: redis://host", "shards.ray is '' (local, auto or HOST:PORT of a running cluster)"),
        ("shards: {ray: LOCAL}", "shards.ray is 'LOCAL' (local, auto or HOST:PORT of a running cluster)"),
        ("shards: {ray: 'ray://head:10001'}", "shards.ray is 'ray://head:10001' (local, auto or HOST:PORT"),
        ("metrics: {port: 50051}", "metrics.port is 50051 (another one than router.port)"),
        ("metrics: {port: 8}\nrouter: {health_port: 8}", "metrics.port is 8 (another one than router.health_port)"),
        ("ingest: {first_retry_s: 60, last_retry_s: 1}", "ingest.first_retry_s is 60.0: at most ingest.last_retry_s"),
        ("memory: {tokens_per_layer: 1000000000000}", "memory.tokens_per_layer is 1000000000000 (2 to 10,000,000)"),
    ],
)
def test_a_number_that_no_system_can_have_or_that_contradicts_another_one_is_refused(text: str, expected: str) -> None:
    assert expected in error_of(text)


def test_a_key_of_a_merged_section_may_be_written_anew() -> None:
    settings = loading.parse_config(
        "cameras:\n  - &one {name: one, url: 'sim:one', gate: false}\n  - {<<: *one, name: two}\n",
        origin="hermes.yaml",
        environment={},
    )

    assert [(camera.name, camera.gate) for camera in settings.cameras] == [("one", False), ("two", False)]


def test_metrics_and_router_may_both_take_any_free_port() -> None:
    loading.parse_config("metrics: {port: 0}\nrouter: {port: 0, health_port: 0}", origin="hermes.yaml", environment={})


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("password: 0123", "cameras[gate].password: it is no text for YAML; write it in quotes"),  # YAML reads 83
        ("password: null", "cameras[gate].password: it is no text for YAML; write it in quotes"),
        ("password_file: /dev/null", "cameras[gate].password_file: '/dev/null': the file is empty"),
        ("password_file: ~no-such-user/p", "cameras[gate].password_file: '~no-such-user/p': Could not determine home"),
    ],
)
def test_no_other_password_is_used_than_the_one_that_was_written(keys: str, expected: str) -> None:
    assert expected in error_of(CAMERA % keys)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("[{name: a, url: 'sim:a'}, {name: b, url: 'sim:b', pce: fast}]", "cameras[b].pce: unknown key"),
        ("[&a {name: a, url: 'sim:a'}, {<<: *a, gate: maybe, name: b}]", "cameras[b].gate: "),
        ("[{name: a, url: 'sim:a'}, {url: 'sim:b', pce: fast}]", "cameras.1.name: missing"),
        ("[{name: 5, url: 'sim:a'}]", "cameras.0.name: "),
        ("[{name: ['a'], url: 'sim:a', password: x}]", "cameras.0.password: "),
        ("[{name: 'a b', url: 'sim:a', password: x}]", "cameras.0.password: "),
        ("[{name: '${NAME}', url: 'sim:a', password: x}]", "cameras.0.name: the environment has no variable"),
    ],
)
def test_a_camera_is_called_by_its_name_and_by_its_index_where_it_has_no_valid_one(entries: str, expected: str) -> None:
    assert f"hermes.yaml:1: {expected}" in error_of(f"cameras: {entries}")


def test_the_home_of_an_unknown_user_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="store 'embedded:~no-such-user/x': Could not determine home"):
        loading.embedded_store_folder(
            loading.parse_config("store: embedded:~no-such-user/x", origin="hermes.yaml", environment={})
        )
    with pytest.raises(ConfigError, match=r"auth\.token_file '~no-such-user/x': Could not determine home"):
        AuthConfig(token_file=Path("~no-such-user/x")).token()
