"""The cameras in a store that the version before wrote are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.fleet.registry import RedisRegistry
from tests import servers
from tests.cache_store import previous_version
from tests.cache_store.previous_version import EXPECTED
from tests.servers import VALKEY


@pytest.mark.redis
@pytest.mark.real_time
async def test_every_camera_of_the_previous_version_is_read(tmp_path: Path) -> None:
    with servers.running(VALKEY, tmp_path) as server:
        with server.client() as client:
            previous_version.load_into(client)
        registry = RedisRegistry(server.url)
        snapshot = await registry.snapshot_since(None)
        await registry.close()

    assert snapshot is not None
    found = {
        name: {
            "url": entry.assignment.spec.url,
            "pace": str(entry.assignment.spec.pace),
            "masks": [list(map(list, mask)) for mask in entry.assignment.spec.masks],
            "gate": entry.assignment.spec.gate,
            "started_s": entry.assignment.started_s,
            "is_configured": entry.is_configured,
        }
        for name, entry in snapshot.entries.items()
    }
    assert found == EXPECTED["registry"]
    assert len(found) == 2
