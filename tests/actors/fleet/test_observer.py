"""One shard's trouble is one row that says so: whatever a shard answers, the others are shown and used."""

from __future__ import annotations

import pytest

from actors.errors import ShardUnavailable
from actors.shard.interface import ShardStatus
from pipeline.cameras import CameraState
from pipeline.network.redaction import REDACTOR
from tests.actors.scripted import ANSWER, ScriptedShard, ask, camera_spec, scripted_fleet

URL = "rtsp://user:canary@host/1"


class OddShard(ScriptedShard):
    """Answers with an error that nobody foresaw once it is odd."""

    is_odd = False

    async def status(self) -> ShardStatus:
        if self.is_odd:
            raise KeyError(URL)
        return await super().status()


async def test_an_odd_error_of_one_shard_is_a_row_and_the_others_are_listed() -> None:
    shards = [OddShard(pid=100), ScriptedShard(pid=200)]
    fleet = scripted_fleet(*shards)
    for name in ("a", "b"):
        await fleet.add_camera(camera_spec(name))
    shards[0].is_odd = True

    with REDACTOR.remembering(URL):
        cameras, rows = await fleet.list_cameras(), await fleet.list_shards()

    assert [camera.status.state for camera in cameras] == [CameraState.RECOVERING, CameraState.LIVE]
    assert cameras[0].status.detail == "shard 0 answers with an error"
    assert [(row.is_up, row.is_failed) for row in rows] == [(False, True), (True, False)]
    assert rows[0].detail.startswith("KeyError: ")
    assert "canary" not in rows[0].detail
    assert await ask(fleet, "b") == list(ANSWER)


async def test_a_shard_that_is_down_is_a_row_with_the_reason(fleet, shards) -> None:
    shards[0].is_down = True

    rows = await fleet.list_shards()

    assert (rows[0].is_up, rows[0].is_failed) == (False, False)
    assert rows[0].detail == "shard: its process ended and is being restarted"
    assert rows[1].detail == ""


async def test_a_shard_that_answers_again_is_as_before() -> None:
    shard = OddShard()
    fleet = scripted_fleet(shard)
    await fleet.add_camera(camera_spec("a"))
    shard.is_odd = True
    await fleet.list_shards()
    with pytest.raises(ShardUnavailable):
        await ask(fleet, "a")

    shard.is_odd = False

    assert [(row.is_up, row.is_failed, row.detail) for row in await fleet.list_shards()] == [(True, False, "")]
    assert await ask(fleet, "a") == list(ANSWER)
