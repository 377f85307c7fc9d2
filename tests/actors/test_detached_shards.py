"""What a command says of a shard that it cannot end."""

from __future__ import annotations

from typing import Any

from actors.detached_shards import DetachedShard


async def test_a_shard_of_a_version_that_cannot_leave_is_named_and_ends_no_command() -> None:
    """Ray gives its handle the methods of its own class: the command broke off, and the other shards ran on."""
    actor: Any = object()
    shard = DetachedShard("shard-0", actor)

    assert await shard.leave(1.0, lambda _: None, may_move=False) == "another version of hermes"
