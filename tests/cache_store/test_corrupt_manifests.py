"""A manifest that cannot be read leaves no chunk behind when it is deleted or outdated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cache_store.checkpoint import Checkpoint
from cache_store.redis_store import RedisCheckpointStore
from tests.cache_store.test_checkpoint import FACTS, saved_at
from tests.cache_store.test_redis_store import client_of
from tests.cache_store.test_store_contract import OWNER, store_with_owners, with_more_frames, with_thumbnails

pytestmark = pytest.mark.redis
CORRUPT = ("{", "[]", '{"chunks": 3}', '{"chunks": [{"key": 3}]}')


@pytest_asyncio.fixture
async def redis_store(server_url: str) -> AsyncIterator[RedisCheckpointStore]:
    async with store_with_owners(server_url) as store:
        yield store


def checkpoint(number: int) -> Checkpoint:
    """With more frames than the one before, and a thumbnail of its own."""
    moment = float(number)
    return with_thumbnails(with_more_frames(saved_at(moment), moment), {number: f"picture {number}".encode()})


def keys(url: str) -> set[bytes]:
    with client_of(url) as client:
        return set(client.keys("hermes:{lobby}:*"))


@pytest.mark.parametrize("text", CORRUPT)
async def test_deleting_a_corrupt_checkpoint_leaves_nothing(
    server_url: str, redis_store: RedisCheckpointStore, text: str
) -> None:
    """Its chunks used to stay for good: nothing named them any more."""
    await redis_store.save("lobby", checkpoint(1), OWNER)
    await redis_store.save("lobby", checkpoint(2), OWNER)
    with client_of(server_url) as client:
        client.lset("hermes:{lobby}:manifests", 0, text)

    await redis_store.delete("lobby", OWNER)

    assert keys(server_url) == {b"hermes:{lobby}:owner"}


async def test_the_commit_that_outdates_a_corrupt_checkpoint_deletes_its_chunks_and_no_other(
    server_url: str, redis_store: RedisCheckpointStore
) -> None:
    await redis_store.save("lobby", checkpoint(1), OWNER)
    await redis_store.save("lobby", checkpoint(2), OWNER)
    with client_of(server_url) as client:
        client.lset("hermes:{lobby}:manifests", 1, "{")

    await redis_store.save("lobby", checkpoint(3), OWNER)

    with client_of(server_url) as client:
        manifests = [json.loads(text) for text in client.lrange("hermes:{lobby}:manifests", 0, -1)]
    named = {chunk["key"].encode() for manifest in manifests for chunk in manifest["chunks"]}
    named |= {f"hermes:{{lobby}}:picture:{one['sha256']}".encode() for m in manifests for one in m["pictures"]}
    assert len(manifests) == 2
    assert keys(server_url) == named | {b"hermes:{lobby}:owner", b"hermes:{lobby}:manifests"}
    assert await redis_store.load("lobby", FACTS.fingerprint) is not None
