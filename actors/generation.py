"""Which code and settings a shard runs: shards of two generations serve side by side while one replaces the other."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os

from actors.config.schema import HermesConfig
from actors.config.shards import ScalingConfig

_DISTRIBUTION = "hermes-cameras"


def build() -> str:
    """The version of this code: HERMES_BUILD, such as the tag of an image, or that of the installed package."""
    return os.environ.get("HERMES_BUILD") or importlib.metadata.version(_DISTRIBUTION)


def of(settings: HermesConfig) -> str:
    """A hash of this code's version and of all settings for which a shard must be started anew."""
    shards = dataclasses.replace(
        settings.shards, count=None, min=None, max=None, spares=0, settings_version=1, scaling=ScalingConfig()
    )
    text = repr((build(), settings.model, settings.memory, settings.ingest, shards))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
