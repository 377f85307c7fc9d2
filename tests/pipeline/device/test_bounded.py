"""A device uses no more memory after all of its clips than after half of them.

HERMES_BOUNDED_CLIPS says how many clips, by default 1,000.
"""

from __future__ import annotations

import os
import statistics
from itertools import pairwise

import psutil
import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from cache_store.tiers import MemoryConfig
from models.tiny import network, vocabulary
from pipeline.decoding import images
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from pipeline.sources.clips import Clip
from tests.conftest import TOKENS_PER_FRAME, random_frames, random_model

CLIPS = int(os.environ.get("HERMES_BOUNDED_CLIPS", "1000"))
INTERVAL = CLIPS // 8
LAYERS = 2
MAX_GROWTH_PER_CLIP_NBYTES = 8_500


@pytest.mark.slow
@pytest.mark.timeout(120 + CLIPS // 10)
def test_the_size_of_a_camera_does_not_grow_with_its_clips() -> None:
    """Slots, process memory, thumbnails and the highest position, on a model of two layers."""
    config = network.tiny_config(vocabulary.build_tokenizer())
    config.text_config.num_hidden_layers = LAYERS
    model = random_model(LlavaOnevisionForConditionalGeneration(config))
    engine = Engine(
        model,
        MemoryConfig(tokens_per_layer=40, recent_frames=1),
        DeviceConfig(max_cameras=1, max_queued_clips=64),
    )
    engine.start()
    engine.add_camera("lobby", is_gated=True)
    frames, preview = random_frames(2), torch.zeros(180, 320, 3, dtype=torch.uint8)
    frames[1] = frames[0]
    frames[1, :16, :16] ^= 128  # one patch changes from clip to clip, so every clip passes the gate
    slots_nbytes, rss = engine.nbytes, []
    max_position, max_thumbnails = 0, 0
    for number in range(CLIPS):
        assert engine.clips.wait_for_space("lobby", timeout_s=30)
        engine.clips.put(Clip("lobby", frames[number % 2][None], (number / 2,), (preview,), number / 2))
        if number % INTERVAL == 0:
            rss.append(psutil.Process().memory_info().rss)
        status = engine.status("lobby")
        max_position, max_thumbnails = (
            max(max_position, status.next_position),
            max(max_thumbnails, status.thumbnails),
        )
    while engine.status("lobby").frames_seen < CLIPS:
        engine.snapshot("lobby").result(timeout=60)
    rss.append(psutil.Process().memory_info().rss)
    status = engine.status("lobby")
    engine.close()

    assert status.frames_dropped == 0
    assert status.tokens_read == CLIPS * TOKENS_PER_FRAME
    assert 2 * model.spec.max_positions < CLIPS * TOKENS_PER_FRAME
    assert engine.nbytes == slots_nbytes
    assert max_position <= model.spec.max_positions
    assert max_thumbnails <= (40 + 8 * TOKENS_PER_FRAME) * LAYERS + 1
    assert status.thumbnail_nbytes == status.thumbnails * len(images.encode_jpeg(preview))
    # Buffers that stay are allocated in an interval or two; what leaks does so in each.
    growths = [after - before for before, after in pairwise(rss)]
    assert statistics.median(growths) < INTERVAL * MAX_GROWTH_PER_CLIP_NBYTES
    assert sum(growths[len(growths) // 2 :]) < CLIPS * MAX_GROWTH_PER_CLIP_NBYTES
