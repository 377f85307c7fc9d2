"""Fleets over scripted shards, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from actors.fleet.fleet import Fleet
from cache_store.leases import InMemoryLeases
from tests.actors.scripted import ScriptedShard, scripted_fleet
from tests.virtual_time import VirtualLoop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test here runs in virtual time, except those that wait for a real store."""
    is_real = item.path.stem.startswith(("test_registry", "test_shared_settings"))
    return {"real": asyncio.SelectorEventLoop} if is_real else {"virtual": VirtualLoop}


@pytest.fixture
def shards() -> list[ScriptedShard]:
    return [ScriptedShard(pid=100), ScriptedShard(pid=200)]


@pytest.fixture
def fleet(shards: list[ScriptedShard]) -> Fleet:
    return scripted_fleet(*shards)


@pytest.fixture
def leases() -> InMemoryLeases:
    return InMemoryLeases()
