"""How many shards there shall be: one truth for all servers over the same store."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from actors.config.shards import ShardsConfig
from cache_store.redis_connection import RedisConnection, as_text

_KEY = "hermes:shards"
_TIMEOUT_S = 2.0
_RETRIES = 1

# ARGV: the revision that shall be replaced (-1: none), and the new numbers. -> whether they were written.
_REPLACE = """
local text = redis.call('GET', KEYS[1])
local revision = text and cjson.decode(text).revision or -1
if revision ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardNumbers:
    """The numbers of shards. Shards are numbered from 0, so that each number says which they are.

    version: of the settings that min, max and spares come from, unless an operator changed them since. target: shards
    that take cameras, between min and max. started: shards that have a process; those from `target` on are emptied,
    then they end. reason: why that is the target, for people. revision: grows with each change.
    """

    version: int = 1
    min: int = 1
    max: int = 1
    spares: int = 0
    target: int = 1
    started: int = 1
    reason: str = ""
    revision: int = 0

    @classmethod
    def of(cls, shards: ShardsConfig) -> ShardNumbers:
        """What a configuration says, before any shard was asked for."""
        return cls(version=shards.settings_version).limited(shards.fewest, shards.most, shards.spares)

    @classmethod
    def fixed(cls, count: int, *, spares: int = 0) -> ShardNumbers:
        """So many shards, whatever comes."""
        return cls().limited(count, count, spares)

    def limited(self, fewest: int, most: int, spares: int) -> ShardNumbers:
        """These numbers within other limits."""
        limited = replace(self, min=fewest, max=most, spares=spares)
        return limited.resized(min(max(self.target, fewest), most), self.reason if self.target >= fewest else "")

    def resized(self, target: int, reason: str) -> ShardNumbers:
        """These numbers with another target."""
        return replace(self, target=target, started=max(self.started, target), reason=reason)

    def reaching(self, present: int) -> ShardNumbers:
        """These numbers, with at least so many shards that have a process."""
        return replace(self, started=max(self.started, present))

    def ended(self, index: int) -> ShardNumbers:
        """These numbers after the end of the last shard, unless the target has it again."""
        is_last = index == self.started - 1 and index >= self.target
        return replace(self, started=index) if is_last else self

    def merged(self, stored: ShardNumbers | None) -> ShardNumbers:
        """The numbers that shall be in the store: those that are there, unless these are of newer settings.

        Also if the store has lost them, or has lost its newest changes.
        """
        if stored is None:
            return self
        if stored.version < self.version:
            return replace(stored.limited(self.min, self.max, self.spares), version=self.version)
        if stored.revision > self.revision:
            return stored
        if stored.version == self.version and stored.revision < self.revision:
            return self
        # Written after the store had lost these, by a server that did not know which shards run: those end by the plan.
        return replace(stored, started=max(stored.started, self.started))


class NumbersStore(Protocol):
    """Where the numbers are kept. Both methods raise StoreUnavailable."""

    async def read(self) -> ShardNumbers | None:
        """The numbers; None where no server has written any."""
        ...

    async def replace(self, before: ShardNumbers | None, after: ShardNumbers) -> bool:
        """Writes `after`, unless the revision of what is there is not that of `before`. -> whether it was written"""
        ...


class InMemoryNumbersStore:
    """A NumbersStore that ends with its process."""

    def __init__(self) -> None:
        self.numbers: ShardNumbers | None = None

    async def read(self) -> ShardNumbers | None:
        return self.numbers

    async def replace(self, before: ShardNumbers | None, after: ShardNumbers) -> bool:
        if _revision(before) != _revision(self.numbers):
            return False
        self.numbers = after
        return True


class RedisNumbersStore:
    """A NumbersStore in the Redis key `hermes:shards`, as JSON."""

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)

    async def read(self) -> ShardNumbers | None:
        async with self._connection.operation():
            reply = await self._connection.client.get(_KEY)
        return None if reply is None else _decode(as_text(reply))

    async def replace(self, before: ShardNumbers | None, after: ShardNumbers) -> bool:
        text = json.dumps(asdict(after))
        async with self._connection.operation():
            return bool(await self._connection.client.eval(_REPLACE, 1, _KEY, _revision(before), text))

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


def _revision(numbers: ShardNumbers | None) -> int:
    return -1 if numbers is None else numbers.revision


def _decode(text: str) -> ShardNumbers:
    """Another version of hermes may have written fields that this one does not know."""
    fields = {field.name for field in dataclasses.fields(ShardNumbers)}
    return ShardNumbers(**{name: value for name, value in json.loads(text).items() if name in fields})
