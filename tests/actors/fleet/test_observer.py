"""One shard's trouble is one row that says so: whatever a shard answers, the others are shown and used."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from actors.errors import ShardEnded, ShardUnavailable
from actors.fleet.scaler import FixedShards, FleetSize
from actors.fleet.shard_numbers import ShardNumbers
from actors.shard.interface import Assignment, ShardStatus
from pipeline.cameras import CameraState
from pipeline.network.redaction import REDACTOR
from pipeline.picture_note import PictureNote
from tests import virtual_time
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


async def test_a_camera_whose_shard_is_down_has_no_note_on_its_picture(fleet, shards) -> None:
    await fleet.add_camera(camera_spec("a"))
    for shard in shards:
        shard.notes["a"] = PictureNote.PICTURE_BLACK
    [noted] = await fleet.list_cameras()
    for shard in shards:
        shard.is_down = True
    [lost] = await fleet.list_cameras()

    assert noted.status.note is PictureNote.PICTURE_BLACK
    assert lost.status.note is None


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


class SlowShard(ScriptedShard):
    """Its next status takes a while, and then is an error. Later ones are as usual."""

    delay_s = 0.0
    error: Exception = ShardUnavailable("shard 0: its process ended and is being restarted")

    async def status(self) -> ShardStatus:
        delay_s, self.delay_s = self.delay_s, 0.0
        if delay_s:
            await asyncio.sleep(delay_s)
            raise self.error
        return await super().status()


@pytest.mark.parametrize("error", [SlowShard.error, KeyError("odd")])
async def test_an_error_of_a_call_to_the_process_before_does_not_make_its_successor_down(error: Exception) -> None:
    """Cameras that were answering used to be refused for a second."""
    shard = SlowShard()
    shard.error = error
    fleet = scripted_fleet(shard)
    await fleet.add_camera(camera_spec("a"))
    shard.delay_s = 1.0
    listing = asyncio.create_task(fleet.list_shards())
    await asyncio.sleep(0.5)
    assert (await fleet.list_shards())[0].is_up

    rows = await listing

    assert rows[0].is_up
    assert await ask(fleet, "a") == list(ANSWER)


class HungShard(ScriptedShard):
    """Answers no status any more."""

    is_hung = False

    async def status(self) -> ShardStatus:
        if self.is_hung:
            await asyncio.sleep(5.0)
            raise ShardUnavailable("shard 0: its process did not answer in time")
        return await super().status()


async def test_a_list_does_not_wait_each_time_for_a_shard_that_hangs() -> None:
    shards = [HungShard(pid=100), ScriptedShard(pid=200)]
    fleet = scripted_fleet(*shards)
    await fleet.add_camera(camera_spec("a"))
    shards[0].is_hung = True
    await fleet.list_cameras()
    began_s = virtual_time.now_s()

    cameras, rows = await fleet.list_cameras(), await fleet.list_shards()

    assert virtual_time.now_s() - began_s <= 1.0
    assert cameras[0].status.state is CameraState.RECOVERING
    assert rows[0].detail == "shard 0: its process did not answer in time"


DOWN = ShardUnavailable("shard 1: its process ended and is being restarted")


async def down_line(size: FleetSize, shard: ScriptedShard, error: ShardUnavailable = DOWN) -> tuple[str, str]:
    """The level and reason of the line about this shard, which is observed once and then ends."""
    fleet = scripted_fleet(size=size)
    await fleet.list_shards()
    shard.status_error = error
    with capture_logs() as lines:
        await fleet.list_shards()
    (line,) = [line for line in lines if line["event"] == "shard_down"]
    return line["log_level"], line["reason"]


@pytest.fixture
def size(shards: list[ScriptedShard]) -> FleetSize:
    """The second shard is beyond the number that shall be."""
    numbers = ShardNumbers(max=2, target=1, started=2, reason="16 cameras fit in 1 shard")
    return FleetSize(pool=FixedShards(shards), numbers=numbers)


async def test_the_end_of_an_empty_shard_that_is_not_needed_is_no_warning(size, shards) -> None:
    assert await down_line(size, shards[1]) == ("info", "16 cameras fit in 1 shard")


async def test_a_shard_that_is_not_needed_and_ends_with_its_cameras_is_a_warning(size, shards) -> None:
    await shards[1].add_camera(Assignment(id="1", spec=camera_spec("a"), started_s=1_000.0))

    assert await down_line(size, shards[1]) == ("warning", str(DOWN))


async def test_the_end_of_an_empty_shard_of_an_older_generation_is_no_warning(shards) -> None:
    shards[1].generation = "older"
    size = replace(FleetSize.fixed(shards), generation="newer")

    level, reason = await down_line(size, shards[1])

    assert level == "info"
    assert "older generation" in reason


async def test_the_end_of_a_shard_that_was_told_to_end_is_no_warning(shards) -> None:
    shards[1].is_leaving = True
    level, reason = await down_line(FleetSize.fixed(shards), shards[1])
    assert level == "info"
    assert "told to end" in reason


async def test_a_shard_that_another_server_ended_is_no_warning_and_a_lost_one_is(shards) -> None:
    ended = ShardEnded("shard 1: its process was ended")
    assert await down_line(FleetSize.fixed(shards), shards[1], ended) == ("info", str(ended))
    assert await down_line(FleetSize.fixed(shards), shards[0]) == ("warning", str(DOWN))
