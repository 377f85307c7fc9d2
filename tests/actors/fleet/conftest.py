"""Fleets over scripted shards, in virtual time."""

from __future__ import annotations

import pytest

from actors.fleet.fleet import Fleet
from cache_store.leases import InMemoryLeases
from tests.actors.scripted import ScriptedShard, scripted_fleet
from tests.virtual_time import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
def shards() -> list[ScriptedShard]:
    return [ScriptedShard(pid=100), ScriptedShard(pid=200)]


@pytest.fixture
def fleet(shards: list[ScriptedShard]) -> Fleet:
    return scripted_fleet(*shards)


@pytest.fixture
def leases() -> InMemoryLeases:
    return InMemoryLeases()
