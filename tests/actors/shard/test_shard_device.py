"""What a shard's device says when it starts."""

from __future__ import annotations

import structlog

from actors.config.schema import HermesConfig
from actors.shard import shard_device
from models import registry


def test_the_policy_of_memories_is_logged_once_with_its_evidence() -> None:
    model, settings = registry.load_model("tiny", "cpu"), HermesConfig().for_shards()
    with structlog.testing.capture_logs() as logged:
        shard_device.of_model(model, settings)

    chosen = [event for event in logged if event["event"] == "policy_chosen"]
    expected = {"model": "tiny", "policy": "questions", "evidence": "our benchmark of tiny models (docs/accuracy.md)"}
    assert [event | expected for event in chosen] == chosen
    assert len(chosen) == 1
