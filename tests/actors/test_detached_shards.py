"""What a command says of a shard that it cannot end."""

from __future__ import annotations

from typing import Any

import pytest

from actors.detached_shards import DetachedShard
from actors.errors import ShardUnavailable


async def test_a_shard_of_a_version_that_cannot_leave_is_named_and_ends_no_command() -> None:
    """Ray gives its handle the methods of its own class: the command broke off, and the other shards ran on."""
    actor: Any = object()
    shard = DetachedShard("shard-0", actor)

    with pytest.raises(ShardUnavailable, match="shard-0: it runs another version of hermes"):
        await shard.leave(1.0, lambda _: None, may_move=False)
