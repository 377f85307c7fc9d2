"""Operations that are forwarded to a shard elsewhere: same names, same arguments, same results."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from actors.config.schema import HermesConfig
from actors.errors import ShardNotStarted
from actors.shard import contract
from actors.shard.interface import OPERATIONS, Assignment, ForwardedShard, Timeout
from actors.shard.shard_process import ShardProcess
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraSpec
from pipeline.sources.ingest_config import IngestConfig
from tests.actors.scripted import ANSWER, ScriptedShard


class LoopbackShard(ForwardedShard):
    """Forwards to a scripted shard by messages, as a process boundary does."""

    def __init__(self, target: ScriptedShard) -> None:
        self._target = target
        self.timeouts: dict[str, Timeout] = {}

    async def _call(self, operation: str, timeout_s: Timeout, /, *args: object, **kwargs: object) -> Any:
        self.timeouts[operation] = timeout_s
        arguments = contract.decode_call(operation, contract.encode_call(operation, *args, **kwargs))
        try:
            reply = contract.encode_result(operation, await getattr(self._target, operation)(**arguments))
        except Exception as error:  # noqa: BLE001 - goes to the caller
            reply = contract.encode_error(error)
        return contract.decode_result(operation, reply)

    async def _stream(self, operation: str, /, *args: object, **kwargs: object) -> AsyncGenerator[Any, None]:
        arguments = contract.decode_call(operation, contract.encode_call(operation, *args, **kwargs))
        try:
            async for event in getattr(self._target, operation)(**arguments):
                yield contract.decode_event(contract.encode_event(event))
        except Exception as error:  # noqa: BLE001 - goes to the caller
            contract.decode_event(contract.encode_error(error))


NO_STORE = "redis://127.0.0.1:1"
GATE = Assignment(id="1", spec=CameraSpec(name="gate", url="sim:yard"), started_s=1.0)


def test_every_operation_of_the_interface_is_forwarded() -> None:
    assert {name for name in vars(ForwardedShard) if not name.startswith("_")} == OPERATIONS


async def test_a_forwarded_operation_has_the_effect_and_the_result_of_the_shard() -> None:
    target = ScriptedShard()
    shard = LoopbackShard(target)

    await shard.add_camera(GATE)
    status = await shard.status()
    tested = await shard.test_camera("sim:yard")
    events = [event async for event in shard.ask("1", "what is in view", max_answer_tokens=3)]
    await shard.drain()
    await shard.erase_memory("1")
    await shard.release_camera("1")

    assert [camera.name for camera in status.cameras] == ["gate"]
    assert tested.url == "sim:yard"
    assert tuple(events) == ANSWER
    assert target.is_draining
    assert target.forgotten == ["gate"]


async def test_a_forwarded_operation_raises_the_error_of_the_shard() -> None:
    shard = LoopbackShard(ScriptedShard())

    with pytest.raises(UnknownCamera):
        await shard.release_camera("1")
    with pytest.raises(UnknownCamera):
        await anext(shard.ask("1", "what is in view"))


async def test_the_timeout_of_a_test_follows_the_time_that_a_source_may_take_to_open() -> None:
    shard = LoopbackShard(ScriptedShard())
    await shard.test_camera("sim:yard")

    timeout_s = shard.timeouts["test_camera"]

    assert callable(timeout_s)
    assert timeout_s(IngestConfig(open_timeout_s=20.0)) > timeout_s(IngestConfig(open_timeout_s=5.0)) > 15.0


@pytest.mark.parametrize("name", ["close", "store_id", "_store", "__class__", "flush"])
async def test_a_process_refuses_a_name_that_is_no_operation(name: str) -> None:
    process = shard_process()
    call = contract.encode_call("status")

    with pytest.raises(RuntimeError, match=f"operation '{name}'"):
        contract.decode_result("status", await process.reply_to(NO_STORE, name, call))
    with pytest.raises(RuntimeError, match=f"operation '{name}'"):
        contract.decode_event(await anext(process.events_of(NO_STORE, name, call)))


async def test_a_process_without_a_model_says_so_to_every_caller() -> None:
    process = shard_process()
    status, question = contract.encode_call("status"), contract.encode_call("ask", "1", "what is in view")

    with pytest.raises(ShardNotStarted, match="/nowhere/model"):
        contract.decode_result("status", await process.reply_to(NO_STORE, "status", status))
    with pytest.raises(ShardNotStarted, match="/nowhere/model"):
        contract.decode_event(await anext(process.events_of(NO_STORE, "ask", question)))
    await process.close()


def shard_process() -> ShardProcess:
    settings = HermesConfig(model="/nowhere/model").for_shards()
    return ShardProcess(contract.encode_settings(settings), "store", "1", logging.CRITICAL, 0)
