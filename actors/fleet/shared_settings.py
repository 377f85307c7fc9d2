"""The settings on which all servers over the same shards must agree, with a version: kept in the store.

A server takes over the numbers of shards of a newer version. Any other difference is refused, in words that name the
key, both values and the version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from actors import generation
from actors.config import plain_values
from actors.config.schema import HermesConfig
from actors.errors import ConfigError
from actors.fleet.configured_cameras import Precedence
from actors.fleet.shard_numbers import ShardNumbers
from cache_store.redis_connection import RedisConnection, as_text

log = structlog.get_logger(__name__)

_KEY = "hermes:settings"
_TIMEOUT_S = 2.0
_RETRIES = 1
_CLUSTER = "shards.cluster"
# The shards need not be started anew for these, so that a running server can take them over.
_ADOPTABLE = ("shards.min", "shards.max", "shards.spares")

# ARGV: a version and its settings. -> the settings of the newest version, these included, and those before them or ''.
_AGREE = """
local text = redis.call('GET', KEYS[1])
if text and cjson.decode(text).version >= tonumber(ARGV[1]) then return {text, text} end
redis.call('SET', KEYS[1], ARGV[2])
return {ARGV[2], text or ''}
"""


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """Values by the names of their keys, as one version of the configuration has them."""

    version: int
    values: Mapping[str, Any]

    @classmethod
    def of(cls, config: HermesConfig) -> SharedSettings:
        """What this configuration says."""
        values = plain_values.shared_values(config) | {"HERMES_BUILD": generation.build()}
        return cls(config.shards.settings_version, values)

    @property
    def limits(self) -> ShardNumbers:
        """The numbers of shards."""
        fewest, most, spares = (int(self.values[f"shards.{key}"]) for key in ("min", "max", "spares"))
        return ShardNumbers(version=self.version).limited(fewest, most, spares)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The newest settings. is_raised: they are the caller's own, and have just replaced an older version."""

    newest: SharedSettings
    is_raised: bool = False

    def precedence(self, version: int) -> Precedence:
        """What the file of a server with this version of the settings may do to the list of configured cameras."""
        if self.is_raised:
            return Precedence.NEWEST
        return Precedence.OUTDATED if version < self.newest.version else Precedence.SAME


class SettingsStore(Protocol):
    """Where the newest version is kept. Both methods raise StoreUnavailable."""

    async def newest(self) -> SharedSettings | None:
        """The newest settings; None where no server has written any."""
        ...

    async def agree(self, settings: SharedSettings) -> Agreement:
        """Writes these settings if their version is newer."""
        ...


class InMemorySettingsStore:
    """A SettingsStore that ends with its process."""

    def __init__(self) -> None:
        self._newest: SharedSettings | None = None

    async def newest(self) -> SharedSettings | None:
        return self._newest

    async def agree(self, settings: SharedSettings) -> Agreement:
        before = self._newest
        if before is None or settings.version > before.version:
            self._newest = settings
            return Agreement(settings, is_raised=before is not None)
        return Agreement(before)


class RedisSettingsStore:
    """A SettingsStore in the Redis key `hermes:settings`, as JSON."""

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url, timeout_s=_TIMEOUT_S, retries=_RETRIES)

    async def newest(self) -> SharedSettings | None:
        async with self._connection.operation():
            reply = await self._connection.client.get(_KEY)
        return None if reply is None else _decode(reply)

    async def agree(self, settings: SharedSettings) -> Agreement:
        text = json.dumps({"version": settings.version, "values": dict(settings.values)})
        async with self._connection.operation():
            newest, before = await self._connection.client.eval(_AGREE, 1, _KEY, settings.version, text)
        return Agreement(_decode(newest), is_raised=before not in (newest, b"", ""))

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


def usable(own: SharedSettings, newest: SharedSettings | None) -> SharedSettings:
    """The settings that a server with its own ones uses where these are the newest. Raises ConfigError.

    Its own ones where none are newer. Newer numbers of shards are taken over, and no other value.
    """
    if newest is None:
        return own
    _require_own_store(own, newest)
    if newest.version < own.version:
        return own
    differences = [key for key, value in newest.values.items() if key in own.values and own.values[key] != value]
    for key in differences:
        if newest.version == own.version or key not in _ADOPTABLE:
            raise ConfigError(
                f"{key} is {own.values[key]!r} here (shards.settings_version {own.version}), and "
                f"{newest.values[key]!r} in version {newest.version} of the settings that all servers of this store "
                f"share: use that value, or set shards.settings_version to {newest.version + 1} to change it for all "
                "of them"
            )
    for key in differences:
        log.warning("setting_adopted", key=key, value=newest.values[key], instead_of=own.values[key])
    return SharedSettings(newest.version, dict(own.values) | {key: newest.values[key] for key in differences})


def _require_own_store(own: SharedSettings, newest: SharedSettings) -> None:
    """Raises ConfigError if the store is that of another system, whatever its version of the settings."""
    name, other = own.values.get(_CLUSTER), newest.values.get(_CLUSTER)
    if name != other and other is not None:
        raise ConfigError(
            f"{_CLUSTER} is {name!r} here, and the store is that of {other!r}: each of two systems over one store "
            "would take the cameras of the other for its own; give each a store, e.g. another database of the same "
            "server (redis://HOST:PORT/1)"
        )


def _decode(reply: bytes | str) -> SharedSettings:
    fields = json.loads(as_text(reply))
    values = fields["values"]
    if count := values.pop("shards.count", None):  # as versions without min and max wrote it
        values |= {"shards.min": count, "shards.max": count}
    return SharedSettings(int(fields["version"]), values)
