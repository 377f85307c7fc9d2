"""The shards of one system: started together, added to while it runs, and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
import torch

from actors import detached_shards, generation, task_cancellation
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.errors import ConfigError, ShardNotStarted
from actors.fleet.shard_numbers import ShardNumbers
from actors.shard.interface import ShardStatus
from actors.shard.ray_shard import RemoteShard

log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 300.0
_LIST_TIMEOUT_S = 1.0


class ShardSet:
    """Starts a process for each shard. Ray must be running. generation: of the processes that it starts."""

    def __init__(self, settings: HermesConfig, store_url: str, *, log_level: int) -> None:
        self.generation = generation.of(settings)
        self._settings = settings
        self._may_start = True
        self._store_url = store_url
        self._log_level = log_level
        self._shards: list[RemoteShard] = []
        self._target = 0
        self._listing: asyncio.Future[int] | None = None

    async def start(self, numbers: ShardNumbers, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Waits for the shards: all of a local Ray are ready then, and at least one of a cluster.

        on_progress: called with what is waited for. Raises ShardNotStarted, and ConfigError if a shard runs with
        another store.
        """
        starts = [asyncio.create_task(shard.ready(_START_TIMEOUT_S)) for shard in self.of(numbers)[: numbers.target]]

        def tell(_: object = None) -> None:
            num_loading = sum(not start.done() for start in starts)
            on_progress(f"loading model {self._settings.model!r} on {num_loading} of {len(starts)} shards")

        tell()
        for start in starts:
            start.add_done_callback(tell)
        try:
            await (_all_of(starts) if self._settings.shards.is_local else _first_of(starts))
        except BaseException:
            await task_cancellation.end(*starts)
            raise

    def of(self, numbers: ShardNumbers) -> Sequence[RemoteShard]:
        """See ShardPool."""
        del self._shards[numbers.started :]
        self._target = numbers.target
        self._shards += [
            RemoteShard(
                index,
                self._settings,
                self._store_url,
                log_level=self._log_level,
                may_start=self._may_start and index < numbers.target,
            )
            for index in range(len(self._shards), numbers.started)
        ]
        for index, shard in enumerate(self._shards):
            shard.is_wanted = index < numbers.target
        self.let_start(may_start=self._may_start)
        return tuple(self._shards)

    async def num_present(self) -> int:
        """See ShardPool. The shards of a local Ray have no other servers, and end with this one."""
        if self._settings.shards.is_local:
            return 0
        self._listing = self._listing or asyncio.ensure_future(asyncio.to_thread(detached_shards.num_present))
        await asyncio.wait([self._listing], timeout=_LIST_TIMEOUT_S)
        if not self._listing.done():
            return 0  # Ray's head is away; the same call goes on
        listing, self._listing = self._listing, None
        return listing.result()

    async def end(self, index: int) -> None:
        """See ShardPool."""
        if index < len(self._shards):
            shard = self._shards[index]
            del self._shards[index:]
            await shard.end()

    async def replace(self, index: int) -> None:
        """See ShardPool."""
        await self._shards[index].replace()

    def let_start(self, *, may_start: bool) -> None:
        """Whether this set starts processes from now on; if not, it uses those that a newer server starts."""
        self._may_start = may_start
        for index, shard in enumerate(self._shards):
            shard.may_start = may_start and index < self._target

    async def close(self) -> None:
        """Ends all shards at the same time; each saves its memories whole. Ray, and its room for others, may go on."""
        results = await asyncio.gather(*(shard.end() for shard in self._shards), return_exceptions=True)
        for index, result in enumerate(results):
            if isinstance(result, BaseException):
                log.warning("shard_not_closed", shard=index, reason=str(result))


def require_gpus(shards: ShardsConfig) -> None:
    """Raises ConfigError if this machine has too few GPUs for the shards of a local Ray.

    Ray does not check the number of GPUs that it is given, and would wait without end for missing ones.
    """
    if not shards.is_local:
        return
    available = torch.cuda.device_count()
    if shards.most * shards.num_gpus > available:
        name = "shards.max" if shards.count is None else "shards.count"
        raise ConfigError(
            f"{name} {shards.most} with shards.num_gpus {shards.num_gpus:g} each: this machine has {available} "
            "GPUs; lower one of the two values (shards.num_gpus: 0 computes on the CPU)"
        )


async def _all_of(starts: Sequence[asyncio.Task[ShardStatus]]) -> None:
    """Waits for every shard. Raises ConfigError, ShardNotStarted."""
    await asyncio.wait(starts)
    for index, start in enumerate(starts):
        log.info("shard_up", shard=index, pid=start.result().pid)


async def _first_of(starts: Sequence[asyncio.Task[ShardStatus]]) -> None:
    """Waits for the first shard of a cluster. The fleet uses the others as soon as they are up.

    Raises ConfigError if a shard runs with another store, ShardNotStarted if no shard starts.
    """
    for start in asyncio.as_completed(starts):
        try:
            log.info("shard_up", pid=(await start).pid)
            return
        except ShardNotStarted as error:
            log.warning("shard_down", reason=str(error))
            last = error
    raise last
