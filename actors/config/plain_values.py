"""The settings that all servers over the same shards share, as plain values that can be compared, stored and hashed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from actors.config.schema import HermesConfig

# What differs between servers that agree: how each reaches Ray, its version, and another word for min and max.
_OWN_KEYS = ("shards.ray", "shards.settings_version", "shards.count")


def shared_values(config: HermesConfig) -> dict[str, Any]:
    """Model, memory, ingest and shards by the names of their keys, as JSON can hold them.

    Equal where they mean the same: lists and maps are sorted, because the order of none of them matters.
    """
    values: dict[str, Any] = {"model": config.model}
    for section in ("memory", "ingest", "shards"):
        values |= _flat(section, getattr(config, section))
    for key in _OWN_KEYS:
        del values[key]
    return values | {"shards.min": config.shards.fewest, "shards.max": config.shards.most}


def _flat(prefix: str, config: Any) -> dict[str, Any]:
    """The fields of a configuration and of those in it, by dotted names."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        key, value = f"{prefix}.{item.name}", getattr(config, item.name)
        found |= _flat(key, value) if dataclasses.is_dataclass(value) else {key: _plain(value)}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    if isinstance(value, tuple | list | frozenset | set):
        return sorted(str(one) for one in value)
    is_plain = (
        value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    )
    return value if is_plain else str(value)
