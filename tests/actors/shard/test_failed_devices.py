"""A shard whose device fails at a command, dies, or is kept busy while a caller gives up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
import torch

from actors.errors import ShardUnavailable
from cache_store.checkpoint import Checkpoint
from cache_store.leases import FREE
from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerFailed
from tests.actors.shard.shards import Running, UnreliableStore, assignment, is_timed, live, status, watch_whole
from tests.actors.waiting import until
from tests.pipeline.device.faults import Faults
from tests.pipeline.device.pausing_model import PausingModel

TIMEOUT_S = 60.0
QUESTION = "what is in view"


async def is_free(checkpoints: UnreliableStore, camera: str) -> bool:
    owner = await checkpoints.leases.owner(camera)
    return owner is not None and owner.incarnation == FREE


async def test_a_camera_that_the_device_fails_to_add_is_not_owned_and_can_be_added_again(
    running: Running, film: str, checkpoints: UnreliableStore
) -> None:
    async with running(max_cameras=1) as shard:
        faults = await asyncio.to_thread(Faults.of, shard._engine)
        faults.fail_after(5, torch.OutOfMemoryError("CUDA out of memory"))

        with pytest.raises(ShardUnavailable, match="camera 'film': adding it: the device failed: OutOfMemoryError"):
            await shard.add_camera(assignment("film", film))

        assert await is_free(checkpoints, "film")
        assert (await shard.status()).cameras == ()
        await watch_whole(shard, "film", film)


async def test_a_camera_whose_caller_gave_up_leaves_no_slot_and_no_lease_behind(
    running: Running, film: str, checkpoints: UnreliableStore, model: LlavaOnevision
) -> None:
    pausing = PausingModel(model)
    async with running(max_cameras=1, model=pausing) as shard:
        await is_timed(shard)
        pausing.pause()
        adding = asyncio.create_task(shard.add_camera(assignment("film", film)))
        assert await asyncio.to_thread(pausing.has_begun.wait, TIMEOUT_S)
        adding.cancel()
        pausing.resume()
        with pytest.raises(asyncio.CancelledError):
            await adding

        assert await is_free(checkpoints, "film")
        assert (await shard.status()).cameras == ()
        await watch_whole(shard, "other", film)


async def test_an_erased_memory_answers_no_further(running: Running, film: str) -> None:
    async with running() as shard:
        await watch_whole(shard, "film", film)
        may_go_on = threading.Event()
        answer = shard.ask("film", QUESTION)
        await anext(answer)
        # The device erases in the middle of the answer.
        shard._engine.command("pause", lambda: may_go_on.wait(TIMEOUT_S))
        erasing = asyncio.create_task(shard.erase_memory("film"))
        await until(lambda: shard._engine.has_command)
        may_go_on.set()
        with pytest.raises(AnswerFailed, match="the memory of camera 'film' was erased"):
            async for _ in answer:
                pass
        await erasing
        memory = (await status(shard, "film")).memory
        assert (memory.frames_seen, memory.summary_tier_tokens, memory.thumbnails) == (0, 0, 0)


async def test_a_device_that_fails_at_copies_does_not_end_saving(
    running: Running, checkpoints: UnreliableStore
) -> None:
    async with running(every_s=0.1) as shard:
        failures = iter([MemoryError(), ZeroDivisionError()])
        snapshot = shard._engine._snapshot

        def unreliable(name: str, is_whole: bool) -> Checkpoint:
            for error in failures:
                raise error
            return snapshot(name, is_whole)

        shard._engine._snapshot = unreliable  # type: ignore[method-assign]
        await shard.add_camera(live())
        await until(lambda: checkpoints.saves > 0)
        assert next(failures, None) is None


PROCESS = """
import asyncio, torch
from actors.config.schema import HermesConfig
from actors.shard import contract
from actors.shard.shard_process import ShardProcess

async def status(process):
    reply = await process.reply_to("redis://127.0.0.1:1/0", "status", contract.encode_call("status"))
    return contract.decode_result("status", reply)

def lose_gpu():
    raise torch.AcceleratorError("CUDA error: unspecified launch failure")

async def main():
    process = ShardProcess(contract.encode_settings(HermesConfig().for_shards()), "store", "blue", 20, 0)
    first = await status(process)
    print(first.slots, first.generation, flush=True)
    engine = process._shard._engine
    engine.command("gpu", lose_gpu)
    while engine.is_running:
        await asyncio.sleep(0.01)
    print("lost", flush=True)
    await status(process)
    print("still there", flush=True)

asyncio.run(main())
"""


ENDING = (
    PROCESS.partition("def lose_gpu")[0]
    + """
async def main():
    process = ShardProcess(contract.encode_settings(HermesConfig().for_shards()), "store", "blue", 20, 7)
    CALLS
    try:
        await status(process)
    except Exception as error:
        print(type(error).__name__, error, flush=True)

asyncio.run(main())
"""
)


@pytest.mark.parametrize("calls", ["await status(process); await process.close()", "await process.leave(1.0, True)"])
def test_a_process_that_was_told_to_end_says_so_and_ends_only_when_it_is_ended(calls: str) -> None:
    """It used to end itself at the next status, in the middle of its close, and its close then failed.

    One that was told to leave before a server had called it took cameras afterwards, on a node that ends.
    """
    program = ENDING.replace("CALLS", calls)
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert process.stdout.strip() == "ShardEnded shard 7: its process was told to end"
    assert process.returncode == 0
    assert "device_stopped" not in process.stderr


def test_the_process_of_a_dead_device_ends_at_the_next_call() -> None:
    """Nothing but a new process can use the GPU again; Ray starts one."""
    process = subprocess.run(
        [sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert process.stdout.split() == ["16", "blue", "lost"]
    assert process.returncode == 1
    assert "event=device_stopped" in process.stderr
