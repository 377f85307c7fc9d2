"""A system that cannot start reports why before its slow parts start."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors import embedded_store, store_clients, system
from actors.config.router_config import AuthConfig, RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.errors import AddressInUse, ConfigError, StoreInUse
from actors.fleet.configured_cameras import Precedence
from actors.fleet.shared_settings import InMemorySettingsStore, SharedSettings
from cache_store.errors import StoreUnavailable
from tests import servers
from tests.servers import VALKEY


async def start(settings: HermesConfig) -> None:
    async with system.running(settings):
        raise AssertionError("the system started")


async def test_a_missing_token_file_is_named() -> None:
    with pytest.raises(ConfigError, match="/none/token"):
        await start(HermesConfig(auth=AuthConfig(token_file=Path("/none/token"))))


async def test_missing_gpus_are_reported_with_their_number() -> None:
    settings = HermesConfig(shards=ShardsConfig(count=100, num_gpus=1))

    with pytest.raises(ConfigError, match=r"shards.count 100 with shards.num_gpus 1 each: this machine has \d+ GPUs"):
        await start(settings)


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port}"):
            await start(HermesConfig(router=RouterConfig(port=port)))


async def test_a_store_that_is_down_is_named_without_its_password() -> None:
    settings = HermesConfig(store="redis://user:canary@127.0.0.1:9/0", router=RouterConfig(port=0))

    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9") as caught:
        await start(settings)

    assert "canary" not in str(caught.value)


@pytest.mark.redis
async def test_a_store_that_another_hermes_uses_is_named(tmp_path: Path) -> None:
    settings = HermesConfig(store=f"embedded:{tmp_path}", router=RouterConfig(port=0))

    with embedded_store.running(tmp_path), pytest.raises(StoreInUse, match=str(tmp_path)):
        await start(settings)


@pytest.mark.redis
@pytest.mark.parametrize(("appendonly", "warnings"), [("no", ["store_not_durable"]), ("yes", [])])
async def test_a_store_that_keeps_nothing_over_a_restart_is_warned_of_once(
    tmp_path: Path, appendonly: str, warnings: list[str]
) -> None:
    with servers.running(VALKEY, tmp_path, appendonly=appendonly) as server, capture_logs() as logs:
        async with store_clients.opened(HermesConfig(store=server.url), lambda _: None):
            pass

    assert [log["event"] for log in logs if log["log_level"] == "warning"] == warnings


async def test_a_server_that_does_not_come_up_has_raised_no_version_of_the_settings() -> None:
    """It used to write its version first, and the servers that ran took over the shards of one that never served."""
    store = InMemorySettingsStore()
    running = HermesConfig(store="redis://store", shards=ShardsConfig(ray="head:6379", count=2))
    await store.agree(SharedSettings.of(running))
    raised = replace(running, shards=replace(running.shards, count=4, settings_version=2))

    assert await system._agreed(raised, store) == raised
    assert await store.newest() == SharedSettings.of(running)  # before Ray and the shards are up

    precedence = await system._precedence(raised, 2, store, lambda: False)
    assert await store.newest() == SharedSettings.of(raised)
    assert precedence() is Precedence.NEWEST


async def test_the_file_of_a_server_with_a_local_ray_is_the_truth_while_it_leads() -> None:
    store, is_leader = InMemorySettingsStore(), False
    precedence = await system._precedence(HermesConfig(), 1, store, lambda: is_leader)

    assert precedence() is Precedence.FOLLOWING
    is_leader = True
    assert precedence() is Precedence.NEWEST
    assert await store.newest() is None
