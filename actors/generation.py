"""Which code and settings a shard runs: shards of two generations serve side by side while one replaces the other."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os

from actors.config import plain_values
from actors.config.schema import HermesConfig

_DISTRIBUTION = "hermes-cameras"
# How many shards there are is none of a shard's business.
_OF_THE_FLEET = ("shards.min", "shards.max", "shards.spares", "shards.scaling.")


def build() -> str:
    """The version of this code: HERMES_BUILD, such as the tag of an image, or that of the installed package."""
    return os.environ.get("HERMES_BUILD") or importlib.metadata.version(_DISTRIBUTION)


def of(settings: HermesConfig) -> str:
    """A hash of this code's version and of all settings for which a shard must be started anew.

    Equal for servers that agree on their settings: of two that did not, each would replace the shards of the other.
    """
    values = {
        key: value for key, value in plain_values.shared_values(settings).items() if not key.startswith(_OF_THE_FLEET)
    }
    return hashlib.sha256(json.dumps([build(), values], sort_keys=True).encode()).hexdigest()[:16]
