"""What a system cannot start with is found before anything slow is imported, and changes nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from actors import embedded_store, preflight
from actors.config.observability import MetricsConfig
from actors.config.router_config import AuthConfig, RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.config.tls import TlsConfig
from actors.errors import AddressInUse, ConfigError, StoreInUse
from models.errors import ModelNotFound

ANY_PORT = RouterConfig(port=0)


def test_a_configuration_without_a_fault_passes_and_makes_no_folder(tmp_path: Path) -> None:
    preflight.require_startable(HermesConfig(router=ANY_PORT, store=f"embedded:{tmp_path / 'store'}"))

    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_of_the_server_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "none.pem"
    tls = RouterConfig(port=0, tls=TlsConfig(certificate=nowhere, key=nowhere))

    with pytest.raises(ConfigError, match=f"router.tls.certificate '{nowhere}': No such file"):
        preflight.require_startable(HermesConfig(router=tls))
    with pytest.raises(ConfigError, match=f"auth.token_file '{nowhere}': No such file"):
        preflight.require_startable(HermesConfig(router=ANY_PORT, auth=AuthConfig(token_file=nowhere)))


def test_a_token_in_the_home_of_nobody_is_refused() -> None:
    auth = AuthConfig(token_file=Path("~no-such-user/token"))

    with pytest.raises(ConfigError, match=r"auth\.token_file '~no-such-user/token'"):
        preflight.require_files(HermesConfig(router=ANY_PORT, auth=auth))


def test_a_token_that_comes_through_a_pipe_is_left_to_the_system() -> None:
    """As in `token_file: /dev/stdin`: a second reader finds nothing."""
    reading, writing = os.pipe()
    os.write(writing, b"a-token")
    os.close(writing)
    auth = AuthConfig(token_file=Path(f"/dev/fd/{reading}"))

    preflight.require_files(HermesConfig(router=ANY_PORT, auth=auth))

    assert auth.token() == "a-token"
    os.close(reading)


@pytest.mark.parametrize("model", ["tyni", "/nothing/here"])
def test_an_unknown_model_is_named_and_one_of_a_cluster_is_left_to_its_nodes(model: str) -> None:
    local = HermesConfig(model=model, router=ANY_PORT)
    cluster = HermesConfig(
        model=model, router=ANY_PORT, shards=ShardsConfig(ray="head:6379"), store="redis://127.0.0.1:9/0"
    )

    with pytest.raises(ModelNotFound, match=f"model '{model}'"):
        preflight.require_startable(local)
    preflight.require_startable(cluster)


@pytest.mark.parametrize("key", ["router.port", "router.health_port", "metrics.port"])
def test_a_port_in_use_is_named_with_its_key(key: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"router.port": 0, "router.health_port": 0, "metrics.port": 0, key: other.getsockname()[1]}
        settings = HermesConfig(
            router=RouterConfig(port=ports["router.port"], health_port=ports["router.health_port"]),
            metrics=MetricsConfig(port=ports["metrics.port"]),
            store=f"embedded:{tmp_path}",
        )
        with pytest.raises(AddressInUse, match=rf"127\.0\.0\.1:{ports[key]}: .*choose another {key}$"):
            preflight.require_startable(settings)


@pytest.mark.redis
def test_a_store_that_another_hermes_uses_is_named_with_its_process(tmp_path: Path) -> None:
    with (
        embedded_store.running(tmp_path / "store"),
        pytest.raises(StoreInUse, match=r"another hermes, process \d+, uses it"),
    ):
        preflight.require_startable(HermesConfig(router=ANY_PORT, store=f"embedded:{tmp_path / 'store'}"))
