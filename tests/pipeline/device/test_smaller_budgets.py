"""A memory that was saved where memories may be larger: it fits its new budget before anything reads it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cache_store.errors import CheckpointCorrupt
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.device.engine import Engine
from tests.conftest import TOKENS_PER_FRAME, numbered
from tests.pipeline.device.engine_driver import CONFIG, ask, ingest, whole


def with_budget(model: LlavaOnevision, tokens_per_layer: int, recent_frames: int = 4) -> Engine:
    memory = MemoryConfig(tokens_per_layer=tokens_per_layer, recent_frames=recent_frames)
    engine = Engine(model, memory, CONFIG, clock=lambda: 5_000.0)
    engine.start()
    return engine


@pytest.mark.parametrize("budget", [120, 72])
def test_a_memory_that_does_not_fit_its_slot_is_compacted_before_it_is_used(model: LlavaOnevision, budget: int) -> None:
    """It has 256 tokens a layer. Slots: budget and a step of 128 tokens."""
    large, small = with_budget(model, 256), with_budget(model, budget)
    large.add_camera("lobby")
    ingest(large, "lobby", 10)
    saved = whole(large, "lobby")
    assert len(saved.layers[0].positions) == 256

    small.add_camera("lobby", saved)

    restored = whole(small, "lobby")
    newest_id = saved.facts.next_frame * TOKENS_PER_FRAME
    for was, now in zip(saved.layers, restored.layers, strict=True):
        assert len(now.positions) == budget
        assert torch.equal(numbered(now.token_ids)[-64:], torch.arange(newest_id - 64, newest_id))
        assert set(numbered(now.token_ids).tolist()) <= set(numbered(was.token_ids).tolist())
    cached = {int(token) // TOKENS_PER_FRAME for layer in restored.layers for token in numbered(layer.token_ids)}
    assert set(restored.thumbnails) == cached
    ingest(small, "lobby", 3, first_s=1_020.0)
    assert ask(small, "lobby", "what is in view").done().answer_tokens
    small.close()
    large.close()


def test_what_a_smaller_budget_keeps_is_what_scores_highest(model: LlavaOnevision) -> None:
    """A restore scores by the model's forward pass over the whole saved memory, as a compaction after a clip does."""
    large, small = with_budget(model, 256), with_budget(model, 128)
    large.add_camera("lobby")
    ingest(large, "lobby", 10)
    saved = whole(large, "lobby")
    small.add_camera("lobby", saved)
    restored = whole(small, "lobby")
    large.close()
    small.close()
    oldest_kept = [int(numbered(layer.token_ids).min()) for layer in restored.layers]
    newest_that_fit = [int(numbered(layer.token_ids)[-128]) for layer in saved.layers]
    assert oldest_kept != newest_that_fit


def test_a_checkpoint_whose_newest_frames_alone_are_over_budget_is_corrupt(model: LlavaOnevision) -> None:
    """Its frame number says that all its tokens are of the recent window, which is never evicted."""
    large, small = with_budget(model, 256), with_budget(model, 128)
    large.add_camera("lobby")
    ingest(large, "lobby", 10)
    saved = whole(large, "lobby")
    large.close()
    forged = replace(saved, facts=replace(saved.facts, next_frame=4))

    with pytest.raises(CheckpointCorrupt, match=r"256 tokens in the newest 4 frames of a layer \(limit 128\)"):
        small.add_camera("lobby", forged)

    small.add_camera("lobby", saved)
    small.close()
