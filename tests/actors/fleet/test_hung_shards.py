"""A process that hangs answers no call for half a minute. Nobody waits for it longer than for the end of its lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from actors import task_cancellation
from actors.errors import ShardUnavailable
from actors.fleet.fleet import Fleet
from actors.shard.interface import Assignment, ShardStatus
from cache_store.leases import ShardIncarnation
from pipeline.answers import AnswerEvent, UnknownCamera
from pipeline.cameras import CameraSpec
from tests import virtual_time
from tests.actors.scripted import ANSWER, ScriptedShard, ask, camera_spec, scripted_fleet, update
from tests.virtual_time import until

LEASE_S = 6.0
# A status is waited for 5 s; then the shard counts as down.
RECOVERED_S = LEASE_S + 2.0


class HangingShard(ScriptedShard):
    """No call is answered while it hangs; each is given up after as long as the product waits for a process."""

    is_hung = False

    async def ask(
        self, camera_id: str, question: str, *, max_answer_tokens: int | None = None, **_: Any
    ) -> AsyncGenerator[AnswerEvent, None]:
        await self._hang(3_600.0)
        async for event in super().ask(camera_id, question, max_answer_tokens=max_answer_tokens):
            yield event

    async def add_camera(self, assignment: Assignment) -> None:
        await self._hang()
        await super().add_camera(assignment)

    async def update_camera(self, assignment: Assignment) -> None:
        await self._hang()
        await super().update_camera(assignment)

    async def release_camera(self, camera_id: str, *, successor: str | None = None) -> None:
        await self._hang()
        await super().release_camera(camera_id, successor=successor)

    async def drop_camera(self, camera_id: str) -> None:
        await self._hang()
        await super().drop_camera(camera_id)

    async def erase_memory(self, camera_id: str) -> None:
        await self._hang()
        await super().erase_memory(camera_id)

    async def status(self) -> ShardStatus:
        await self._hang(5.0)
        return await super().status()

    async def _hang(self, timeout_s: float = 30.0) -> None:
        if self.is_hung:
            await asyncio.sleep(timeout_s)
            raise ShardUnavailable("shard 0: its process did not answer in time")


@pytest.fixture
def shards() -> list[ScriptedShard]:
    return [HangingShard(pid=100), ScriptedShard(pid=200)]


@pytest_asyncio.fixture
async def fleet(shards, leases) -> AsyncIterator[Fleet]:
    """Runs, with camera "a" on the first shard, which hangs from now on."""
    fleet = scripted_fleet(*shards, leases=leases, lease_length_s=LEASE_S)
    for shard in shards:
        await leases.renew(ShardIncarnation((await shard.status()).incarnation))
    await fleet.add_camera(camera_spec("a"))
    running = asyncio.create_task(fleet.run())
    await asyncio.sleep(0.5)
    shards[0].is_hung = True
    yield fleet
    await task_cancellation.end(running)


async def test_a_removal_ends_with_the_lease(fleet, shards) -> None:
    """It used to wait 30 s for the call."""
    began_s = virtual_time.now_s()

    await fleet.remove_camera("a")

    assert virtual_time.now_s() - began_s < RECOVERED_S
    with pytest.raises(UnknownCamera):
        await ask(fleet, "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda fleet: update(fleet, replace(camera_spec("a"), labels={"a": "b"})),
        lambda fleet: fleet.erase_memory("a"),
        lambda fleet: fleet.move_camera("a", 1),
    ],
    ids=["update", "erase", "move"],
)
async def test_a_change_under_way_does_not_keep_the_camera_from_another_shard(
    fleet, shards, change: Callable[[Fleet], Awaitable[object]]
) -> None:
    """The change holds the camera; it used to hold it for 30 s."""
    changing = asyncio.ensure_future(change(fleet))

    assert await until(lambda: "a" in shards[1].assignments) < RECOVERED_S
    with suppress(ShardUnavailable):
        await changing
    assert await ask(fleet, "a") == list(ANSWER)


async def test_an_updated_spec_is_what_the_next_shard_watches(fleet, shards) -> None:
    spec = CameraSpec(name="a", url="sim:street", labels={"a": "b"})

    await update(fleet, spec)
    await until(lambda: "a" in shards[1].assignments)

    assert shards[1].assignments["a"].spec == spec


async def test_a_question_is_answered_by_the_next_shard(fleet) -> None:
    """It used to wait for ever."""
    began_s = virtual_time.now_s()

    assert await ask(fleet, "a") == list(ANSWER)

    assert virtual_time.now_s() - began_s < RECOVERED_S
