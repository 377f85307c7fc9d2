"""Where the simulated servers get their shards from: all of them reach the same ones, by their indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.fleet.shard_numbers import ShardNumbers
from tests.chaos.simulated_shard import SimulatedShard


@dataclass(frozen=True, slots=True)
class SimulatedPool:
    """A ShardPool. What one server starts or ends is started or ended for all."""

    shards: Sequence[SimulatedShard]

    def of(self, numbers: ShardNumbers) -> Sequence[SimulatedShard]:
        for shard in self.shards[: numbers.target]:
            shard.start()
        return self.shards[: numbers.started]

    async def num_present(self) -> int:
        return max((number for number, shard in enumerate(self.shards, start=1) if not shard.is_ended), default=0)

    async def end(self, index: int) -> None:
        await self.shards[index].end()

    async def replace(self, index: int) -> None:
        await self.shards[index].end()
        self.shards[index].start()
