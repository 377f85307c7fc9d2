"""Starts and ends shards: what the store says becomes what is, and what this fleet decides goes into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from actors.config.shards import MOST_SHARDS, ScalingConfig
from actors.errors import InvalidRequest, InvalidShard, ScalingConflict
from actors.fleet import scaling
from actors.fleet.shard_numbers import InMemoryNumbersStore, NumbersStore, ShardNumbers
from actors.fleet.snapshot import SizeSnapshot
from actors.fleet.state import FleetState
from actors.shard.interface import Shard

log = structlog.get_logger(__name__)

_TRIES = 5  # of a change, while other servers change the numbers at the same moment


class ShardPool(Protocol):
    """Where shards come from: a ShardSet, or FixedShards."""

    def of(self, numbers: ShardNumbers) -> Sequence[Shard]:
        """The started shards, by index. Those that are missing below the target are started; does not wait for them.

        One beyond the target is used if it has a process, and not started again when that ends.
        """
        ...

    async def num_present(self) -> int:
        """One more than the highest index that has a process, whoever started it; 0 where none is known."""
        ...

    async def end(self, index: int) -> None:
        """Saves what the shard has, if it answers, and ends its process for good. `of` can start another one."""
        ...

    async def replace(self, index: int) -> None:
        """Ends the process as `end` does, and starts one of the newest generation. Raises ServiceError."""
        ...


@dataclass(frozen=True, slots=True)
class FixedShards:
    """A ShardPool of shards that are there before and after."""

    shards: Sequence[Shard]

    def of(self, numbers: ShardNumbers) -> Sequence[Shard]:
        return self.shards[: numbers.started]

    async def num_present(self) -> int:
        return 0

    async def end(self, index: int) -> None:
        """Nothing ends."""

    async def replace(self, index: int) -> None:
        """Nothing is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSize:
    """How many shards a fleet has, and what changes it.

    numbers: at its start. slots: of a shard that has not answered yet. most: the most shards that Ray can have; None:
    any number. generation: that shards shall run; empty: any.
    """

    pool: ShardPool
    numbers: ShardNumbers
    store: NumbersStore = field(default_factory=InMemoryNumbersStore)
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    slots: int = 16
    most: int | None = None
    generation: str = ""

    @classmethod
    def fixed(cls, shards: Sequence[Shard], *, spares: int = 0) -> FleetSize:
        """These shards, whatever comes."""
        return cls(pool=FixedShards(shards), numbers=ShardNumbers.fixed(len(shards), spares=spares))

    def snapshot(self) -> SizeSnapshot:
        """The part of it that a plan depends on."""
        return SizeSnapshot(numbers=self.numbers, scaling=self.scaling, slots=self.slots, generation=self.generation)


class Scaler:
    """Keeps the numbers of shards. One event loop owns it, with the state. on_change: called after a change."""

    def __init__(self, state: FleetState, size: FleetSize, *, on_change: Callable[[], None]) -> None:
        self._state = state
        self._pool = size.pool
        self._store = size.store
        self._numbers = size.numbers
        self._most = size.most
        self._on_change = on_change

    @property
    def numbers(self) -> ShardNumbers:
        """The numbers that this fleet knows."""
        return self._numbers

    def require_shard(self, index: int) -> None:
        """Raises InvalidShard if there is no shard of this index."""
        last = self._numbers.started - 1
        if not 0 <= index <= last:
            raise InvalidShard(f"shard {index}: no such shard, there are 0 to {last}")

    def adopt(self, settings: ShardNumbers) -> None:
        """Takes over the limits of newer settings. The next `follow` writes them."""
        limited = self._numbers.limited(settings.min, settings.max, settings.spares)
        self._apply(replace(limited, version=settings.version))

    async def follow(self) -> None:
        """Takes over the numbers in the store. Writes there what it has lost. Raises ScalingConflict, StoreUnavailable.

        A shard that runs beyond them, e.g. because a store that was emptied knows nothing of it, is counted as started,
        so that it is emptied and ended.
        """
        present = await self._pool.num_present()
        await self._change(lambda numbers: numbers.reaching(present))

    async def set_limits(self, fewest: int, most: int) -> ShardNumbers:
        """Other limits, for every server. Raises InvalidRequest, ScalingConflict, StoreUnavailable."""
        if not 1 <= fewest <= most <= MOST_SHARDS:
            raise InvalidRequest(
                f"shards: min {fewest} and max {most}: both 1 to {MOST_SHARDS:,}, and max at least min"
            )
        if self._numbers.spares >= most:
            raise InvalidRequest(f"shards: max {most}: more than shards.spares, which is {self._numbers.spares}")
        fleet, num_cameras = self._state.snapshot(0.0), len(self._state.cameras)
        if not scaling.can_hold(fleet, num_cameras, most):
            raise InvalidRequest(
                f"shards: max {most}: the {num_cameras} cameras do not fit there ({self._state.size.slots} slots a "
                "shard, none on those that drain); allow more shards or remove cameras first"
            )
        if self._most is not None and most > self._most:
            raise InvalidRequest(
                f"shards: max {most}: the Ray of this machine was started for {self._most} shards; raise shards.max in "
                "the configuration and restart the server"
            )
        reason = f"an operator set min {fewest}, max {most}"
        await self._change(lambda numbers: replace(numbers.limited(fewest, most, numbers.spares), reason=reason))
        log.info("shards_limited", min=fewest, max=most)
        return self._numbers

    async def resize(self, target: int, reason: str) -> None:
        """Another target, within the limits. Raises ScalingConflict, StoreUnavailable."""
        await self._change(lambda numbers: numbers.resized(min(max(target, numbers.min), numbers.max), reason))
        log.info("shards_scaled", target=self._numbers.target, reason=reason)

    async def end(self, index: int) -> None:
        """Ends the last shard, which is empty and beyond the target. Raises ScalingConflict, StoreUnavailable."""
        await self._pool.end(index)
        await self._change(lambda numbers: numbers.ended(index))
        log.info("shard_ended", shard=index)

    async def replace(self, index: int) -> None:
        """Replaces the process of an empty shard by one of the newest generation. Raises ServiceError."""
        await self._pool.replace(index)
        log.info("shard_replaced", shard=index)
        self._state.shards[index].mark_ended()
        self._state.apply_shards(self._pool.of(self._numbers), self._numbers)
        self._on_change()

    async def _change(self, change: Callable[[ShardNumbers], ShardNumbers]) -> None:
        for _ in range(_TRIES):
            stored = await self._store.read()
            after = change(self._numbers.merged(stored))
            if after == stored:
                return self._apply(after)
            after = replace(after, revision=max(self._numbers.revision, -1 if stored is None else stored.revision) + 1)
            if await self._store.replace(stored, after):
                return self._apply(after)
        raise ScalingConflict("shards: other servers change their number at the same moment; try again")

    def _apply(self, numbers: ShardNumbers) -> None:
        if numbers != self._numbers:
            self._numbers = numbers
            self._state.apply_shards(self._pool.of(numbers), numbers)
            self._on_change()
