"""Two shards are of one generation where nothing but a restart would make them the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import generation
from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ScalingConfig, ShardsConfig
from actors.fleet.shared_settings import SharedSettings
from cache_store.tiers import MemoryConfig

CONFIG = HermesConfig(shards=ShardsConfig(count=2))


@pytest.mark.parametrize(
    "other",
    [
        HermesConfig(model="/models/other", shards=CONFIG.shards),
        HermesConfig(memory=MemoryConfig(tokens_per_layer=300), shards=CONFIG.shards),
        HermesConfig(shards=ShardsConfig(count=2, lease=LeaseConfig(length_s=9.0))),
    ],
)
def test_other_settings_are_another_generation(other: HermesConfig) -> None:
    assert generation.of(other) != generation.of(CONFIG)


def test_another_build_is_another_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = generation.of(CONFIG)
    monkeypatch.setenv("HERMES_BUILD", "registry/hermes:2")

    assert generation.of(CONFIG) != installed
    assert generation.build() == "registry/hermes:2"


def test_the_number_of_shards_makes_no_other_generation() -> None:
    shards = ShardsConfig(min=1, max=9, spares=2, settings_version=7, scaling=ScalingConfig(up_after_s=1.0))

    assert generation.of(replace(CONFIG, shards=shards)) == generation.of(CONFIG)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ray": "head.example:6379"}, {"ray": "auto"}),
        ({"node_labels": {"a": "1", "b": "2"}}, {"node_labels": {"b": "2", "a": "1"}}),
    ],
)
def test_servers_that_agree_on_their_settings_expect_one_generation(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Each of two routers that named Ray's head differently replaced every shard whenever it came to lead."""
    configs = [
        HermesConfig(shards=ShardsConfig(**{"ray": "auto"} | shards), store="redis://store") for shards in (one, other)
    ]
    assert SharedSettings.of(configs[0]) == SharedSettings.of(configs[1])

    assert generation.of(configs[0]) == generation.of(configs[1])


def test_the_order_of_folders_makes_no_other_generation() -> None:
    folders = (Path("/a"), Path("/b"))
    configs = [
        replace(CONFIG, ingest=replace(CONFIG.ingest, video_folders=order)) for order in (folders, folders[::-1])
    ]

    assert generation.of(configs[0]) == generation.of(configs[1])
