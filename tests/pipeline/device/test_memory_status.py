"""A camera's memory in numbers."""

from __future__ import annotations

import torch

from benchmarks import baselines
from cache_store.policies import Policy
from models.llava_onevision import LlavaOnevision
from tests.conftest import random_frames
from tests.pipeline.device.test_camera_memory import append, new_camera


def test_the_oldest_time_is_that_of_the_oldest_token_or_of_what_a_summary_stands_for(model: LlavaOnevision) -> None:
    """Where tokens fold, the first frame is in a summary for ever, which is not the first token of its layer."""
    folding, dropping = new_camera(model, policy=Policy(baselines.hermes_with_summaries)), new_camera(model)
    for camera in (folding, dropping):
        for clip in range(8):
            append(camera, random_frames(8, seed=clip), first_s=5.0 + 4 * clip)
    kept = [dropping.memory.after_prefix(layer).times_s for layer in range(dropping.memory.num_layers)]

    assert folding.status(0).oldest_s == 5.0
    assert dropping.status(0).oldest_s == float(torch.cat(kept).min())
