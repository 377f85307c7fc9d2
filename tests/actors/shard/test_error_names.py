"""Errors of a shard name cameras by their names: an id tells people nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.errors import OwnershipUnproven
from cache_store.errors import OwnedByAnother
from pipeline.cameras import TooManyCameras
from tests.actors.shard.shards import (
    QUICK_LEASE,
    Running,
    UnreliableStore,
    assignment,
    live,
)
from tests.actors.waiting import until

CAMERA_ID = "c0ffee" * 5


async def test_a_question_that_is_refused_names_the_camera(running: Running, checkpoints: UnreliableStore) -> None:
    async with running(lease=QUICK_LEASE) as shard:
        await shard.add_camera(replace(live(), id=CAMERA_ID))
        checkpoints.leases.is_down = True
        messages: list[str] = []

        async def is_refused() -> bool:
            try:
                await anext(shard.ask(CAMERA_ID, "what is in view"))
            except OwnershipUnproven as error:
                messages.append(str(error))
            return bool(messages)

        await until(is_refused)

    assert "camera 'street'" in messages[0]
    assert CAMERA_ID not in messages[0]


async def test_a_camera_that_cannot_be_added_is_named(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    camera = replace(assignment("film", film), id=CAMERA_ID)
    async with running(max_cameras=1) as shard, running(max_cameras=1) as other:
        await shard.add_camera(camera)
        with pytest.raises(OwnedByAnother, match="camera 'film'") as caught:
            await other.add_camera(replace(camera, expiry=None))
        with pytest.raises(TooManyCameras, match="camera 'street'"):
            await shard.add_camera(replace(live(), id="b0b" * 10))

    assert caught.value.incarnation
    assert CAMERA_ID not in str(caught.value)
