"""What a shard's device says when it starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import structlog

from actors.config.schema import HermesConfig
from actors.shard import shard_device
from cache_store.tiers import MemoryConfig
from models import registry
from models.errors import ModelError
from tests.pipeline.workers import pools


def test_the_policy_of_memories_is_logged_once_with_its_evidence() -> None:
    model, settings = registry.load_model("tiny", "cpu"), HermesConfig().for_shards()
    with structlog.testing.capture_logs() as logged:
        shard_device.of_model(model, settings)

    chosen = [event for event in logged if event["event"] == "policy_chosen"]
    expected = {"model": "tiny", "policy": "questions", "evidence": "our benchmark of tiny models (docs/accuracy.md)"}
    assert [event | expected for event in chosen] == chosen
    assert len(chosen) == 1


def test_a_device_on_which_the_memories_do_not_fit_leaves_nothing_open() -> None:
    """Each call of a shard that is not up tries again."""
    model, settings = registry.load_model("tiny", "cpu"), HermesConfig().for_shards()
    settings = replace(settings, memory=MemoryConfig(tokens_per_layer=1_000_000))
    before = pools.descriptors()

    for _ in range(3):
        with pytest.raises(ModelError):
            shard_device.of_model(model, settings)

    assert not pools.descriptors() - before
