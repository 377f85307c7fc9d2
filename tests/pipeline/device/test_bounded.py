"""A device that has read 5,000 clips holds what it held after a few hundred."""

from __future__ import annotations

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

CLIPS = 5_000
WARM_UP = 500
LAYERS = 2


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_five_thousand_clips_take_the_room_of_five_hundred() -> None:
    """Slots, process memory, pictures and the largest position, in compressed time, on a model of two layers."""
    config = network.tiny_config(vocabulary.build_tokenizer())
    config.text_config.num_hidden_layers = LAYERS
    model = random_model(LlavaOnevisionForConditionalGeneration(config))
    device = Engine(
        model,
        MemoryConfig(tokens_per_layer=40, recent_frames=1),
        DeviceConfig(max_cameras=1, max_queued_clips=64),
    )
    device.start()
    device.add_camera("lobby", is_gated=True)
    frames, preview = random_frames(2), torch.zeros(180, 320, 3, dtype=torch.uint8)
    frames[1] = frames[0]
    frames[1, :16, :16] ^= 128  # one cell changes from clip to clip, so every clip passes the gate
    nbytes, resident = device.nbytes, 0
    positions, kept = 0, 0
    for turn in range(CLIPS):
        assert device.clips.wait_for_space("lobby", timeout_s=30)
        device.clips.put(Clip("lobby", frames[turn % 2][None], (turn / 2,), (preview,), turn / 2))
        if turn == WARM_UP:
            resident = psutil.Process().memory_info().rss
        status = device.status("lobby")
        positions, kept = max(positions, status.next_position), max(kept, status.thumbnails)
    device.snapshot("lobby").result(timeout=60)
    while device.status("lobby").frames_seen < CLIPS:
        device.snapshot("lobby").result(timeout=60)
    grown = psutil.Process().memory_info().rss - resident
    status = device.status("lobby")
    device.close()

    assert status.frames_dropped == 0
    assert status.tokens_read == CLIPS * TOKENS_PER_FRAME
    assert device.nbytes == nbytes
    assert positions <= model.spec.max_positions
    assert kept <= 40 * LAYERS + 1
    assert status.thumbnail_nbytes == status.thumbnails * len(images.encode_jpeg(preview))
    assert grown < 40 << 20
